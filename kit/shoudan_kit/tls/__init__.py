"""TLS between processes: names in certificates, the files of one process, a small authority."""
