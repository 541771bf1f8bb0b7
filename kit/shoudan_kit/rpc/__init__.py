"""gRPC between services: the server around every servicer, the client side, refusals on the wire."""
