"""Values: messages, ids, errors and settings; no I/O."""
