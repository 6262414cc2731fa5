"""The hall and its gatherings, on Trio. They see no network and no disk."""
