"""RRDBNet in float32 on processors by Winograd's convolution: C++ that is compiled where the package is installed."""
