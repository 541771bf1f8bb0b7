"""Tables and statements of PayServer: set-based, each takes a batch whatever its size."""
