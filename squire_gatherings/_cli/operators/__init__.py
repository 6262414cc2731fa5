"""The commands of operators, which ask the admin port of a running server."""
