"""Weights: the one reader of the project, from any known file to a network and its facts."""

from __future__ import annotations

from esrgan.weights.describe import describe
from esrgan.weights.facts import LoadedNetwork, NetworkFacts
from esrgan.weights.files import read_state_dict
from esrgan.weights.growing import grow
from esrgan.weights.load import load_network, network_from_state_dict
from esrgan.weights.mixing import add_difference, interpolate, load_blend
from esrgan.weights.registry import MODELS, ModelEntry, gan_of, resolve
from esrgan.weights.save import save_network

__all__ = [
    "MODELS",
    "LoadedNetwork",
    "ModelEntry",
    "NetworkFacts",
    "add_difference",
    "describe",
    "gan_of",
    "grow",
    "interpolate",
    "load_blend",
    "load_network",
    "network_from_state_dict",
    "read_state_dict",
    "resolve",
    "save_network",
]
