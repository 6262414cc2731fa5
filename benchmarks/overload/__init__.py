"""Overload: what a server does when clients send more than it can take."""
