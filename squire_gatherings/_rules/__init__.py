"""Layer 2, rules: plain objects without I/O that are told the time."""
