"""The PostgreSQL store: each group commit is one statement, which only the owner's epoch lets in.

From the outside in: `store` (what a hall has), `writer` (what a commit writes), `batch` (the
statement), `alone` (one append that didn't fit), `claims` and `nodes` (what is ours), and `reads`.
Below them: `tables`, `link` (a connection), `patience`, `migration`, `schema` and `address`.
"""
