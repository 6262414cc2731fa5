"""Overload: what a server does when more is sent than it can take."""
