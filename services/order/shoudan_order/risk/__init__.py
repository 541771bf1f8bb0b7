"""Risk rules: limits, repeats and blocked accounts, decided in the transaction that takes the order."""
