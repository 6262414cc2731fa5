"""One generator process: what it is told, what it does, and what it reports."""
