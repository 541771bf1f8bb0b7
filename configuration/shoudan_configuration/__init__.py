"""The configuration file: what it may say, as the messages of the contract, and back as a file."""
