"""The delivery service: supplier channels, delivery orders, queries and results."""
