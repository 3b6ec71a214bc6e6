"""Training inside BasicSR. The only part of the project that imports `basicsr`."""
