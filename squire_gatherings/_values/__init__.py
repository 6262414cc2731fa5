"""Layer 1, values: messages, ids, errors and settings; no I/O."""
