"""Images for training: cut and reduced beforehand, and loaded in an order that can be continued."""
