"""HTTP to the outside world, on connections of our own."""
