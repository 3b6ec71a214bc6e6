"""What runs a network: one small interface, `base.Backend`, and one module for each library behind it."""
