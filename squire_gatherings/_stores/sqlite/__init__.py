"""The SQLite store: one file, a journal in it that takes each commit, and tables behind that."""
