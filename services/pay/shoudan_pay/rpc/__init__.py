"""Messages to values and back: a servicer for each service of the contract, no rules."""
