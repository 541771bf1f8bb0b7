"""Two persons: calls of a service's own contract that are made when a second operator approves them."""
