"""What Prometheus and Grafana are given, from one table of metrics and one of alerts."""
