"""Statements of PayServer."""
