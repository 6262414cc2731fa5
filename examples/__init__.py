"""Programs to read, to start and to begin one's own from."""
