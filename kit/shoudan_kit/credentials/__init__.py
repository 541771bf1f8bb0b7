"""Secrets of partners, suppliers and platforms as data: sealed, rotated with overlap, live everywhere."""
