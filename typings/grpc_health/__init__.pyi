"""Health of gRPC servers; only what kit uses."""
