"""Rules: plain objects without I/O that are told the time."""
