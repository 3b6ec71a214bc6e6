"""`esrgan benchmark`: how fast and how exact a network runs on this machine."""
