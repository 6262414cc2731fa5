"""`load`: puts a load on a server, and checks all that its clients see.

The command starts a server (or takes one by URL) and several generator processes, which
own the clients; they report by pipe to the process that shows and judges the whole.
"""
