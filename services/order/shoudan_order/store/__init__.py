"""Statements of the order service, in batches, and the frozen rows they give."""
