"""Statements on refunds given back through ChinaUMS."""
