"""The calls of the API: of gatherings, of users, and of the hall as a whole."""
