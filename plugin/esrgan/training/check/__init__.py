"""`basicsr check`, and what is refused before a run starts."""
