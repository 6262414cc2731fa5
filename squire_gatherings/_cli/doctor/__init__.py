"""`doctor`: looks for what is easily wrong around a server. A module for each family of checks."""
