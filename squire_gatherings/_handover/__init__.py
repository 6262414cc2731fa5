"""The handover: a new process goes on with a server's connections, and nobody notices."""
