"""The coordinator: the process that runs a load test, adds up what is reported, and judges it."""
