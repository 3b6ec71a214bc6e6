"""RRDBNet in Triton: `convolution` is the kernel, `packing` its weights, `network` the order of work."""
