"""A file system that fails: what a crash of the machine may leave of a store's files.

`vfs` sees what SQLite does with its files, `disk` knows what of it may be lost, `lives` makes the
runs, and `survivors` says what must be found after each crash.
"""
