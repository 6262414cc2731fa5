"""The ways in besides our own server: connections that a program has accepted itself."""
