"""Video through standard input and output: y4m and NUT."""
