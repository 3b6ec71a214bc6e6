"""ESRGAN (Wang et al. 2018, arXiv:1809.00219): networks, weights, and training inside BasicSR.

Importing this package registers nothing and loads nothing heavy.
"""

__version__ = "0.1.0"
