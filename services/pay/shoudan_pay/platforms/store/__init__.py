"""Statements on who may call and on what was used up."""
