"""Live rooms that end on time: gatherings on Trio, reached over WebSockets."""
