"""Rich error statuses of gRPC; only what kit uses."""
