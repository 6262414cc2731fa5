"""Layer 4, edges: stores, WebSockets, authentication."""
