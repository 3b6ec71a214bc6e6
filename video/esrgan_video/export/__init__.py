"""ONNX: the graph of a network, written node by node, and the file that other programs run."""
