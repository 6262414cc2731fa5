"""The numbers: what is measured while the port is open, and what Prometheus is shown of all."""
