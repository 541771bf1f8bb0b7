"""The ERP ingest service: trades and refunds as the ERP pushes them."""
