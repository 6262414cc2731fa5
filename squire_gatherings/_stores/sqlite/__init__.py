"""The SQLite store: each commit goes into a journal, which is folded into tables now and then.

From the outside in: `store` (what a hall has), `group_commit` (what goes together into a commit),
`writer` (what a commit writes), `journal`, `fold` and `tables` (what is in the file), and `reads`.
Below them: `connection`, `place` (the file and its lock), `contents` (whether the file was
overwritten) and `schema`. Beside them:
`whole_logs`, `archive` and `log_changes`; `backup`, `verify` and `offline`, for the command line.
"""
