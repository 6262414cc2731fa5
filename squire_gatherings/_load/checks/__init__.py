"""The checks: what a server may do, as its clients see it. Nothing here waits or does I/O."""
