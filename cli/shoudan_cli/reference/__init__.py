"""The generated reference: tables, values, error codes, events, settings, as installed."""
