"""Layer 5, programs: the command line."""
