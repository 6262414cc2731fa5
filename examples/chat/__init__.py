"""A chat with presence: who is here, and who is typing."""
