"""`basicsr train` and `basicsr test`: the loop, its checkpoints, and continuing from them."""
