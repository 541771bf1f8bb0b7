"""Background work of the pay service, declared as data."""
