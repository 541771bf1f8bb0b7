"""Statements of the delivery service and the rows they give, in batches."""
