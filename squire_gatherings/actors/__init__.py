"""Layer 3, actors: the hall and its gatherings, on Trio; they see no network and no disk."""
