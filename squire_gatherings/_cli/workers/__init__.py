"""Workers: several processes that serve together, and the one that starts them."""
