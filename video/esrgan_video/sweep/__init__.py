"""Network interpolation measured: `esrgan sweep`."""
