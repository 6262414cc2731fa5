"""The adapters of our own clients: programs that translate lines of JSON into calls, and back."""
