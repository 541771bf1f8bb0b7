"""Statements of the finance service and the rows they give, in batches."""
