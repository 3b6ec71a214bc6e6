"""A larger RRDBNet that starts as the function of a smaller one (Net2Net: Chen et al. 2016, arXiv:1511.05641)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from esrgan.archs.rrdbnet import RESIDUAL_SCALE, RRDB, ResidualDenseBlock, RRDBNet
from esrgan.errors import UsageError
from esrgan.weights.facts import LoadedNetwork
from esrgan.weights.load import network_from_state_dict


def grow(
    loaded: LoadedNetwork,
    *,
    generator: torch.Generator,
    num_feat: int | None = None,
    num_block: int | None = None,
    num_grow_ch: int | None = None,
    scale: int | None = None,
) -> LoadedNetwork:
    """A network of the wanted size that computes what `loaded` computes, up to rounding.

    Sizes that are `None` stay.

    Old channels keep their weights and see new ones through zeros, which training moves at once; new channels are
    initialised at random, so no two of them learn the same. New blocks stand behind the old ones with a residual of
    zero. Such a block multiplies by 1 + β, for which the convolution behind the trunk makes up.

    A smaller scale comes by a larger pixel-unshuffle in front, as Real-ESRGAN's x2 has it. The new network begins as
    `loaded` on the means of squares of pixels, that is on the reduced image; training finds what is in single pixels.

    Args:
        loaded: an RRDBNet, not of ESRGAN+; it is not changed.
        generator: source of the new channels' weights.
        num_feat: features of the trunk, at least those of `loaded`.
        num_block: number of RRDBs, at least those of `loaded`.
        num_grow_ch: growth of the dense blocks, at least that of `loaded`.
        scale: that of `loaded` or a half or a quarter of it.

    Raises:
        UsageError: another architecture, a size smaller than that of `loaded`, or a scale that cannot be had.
    """
    small, config = loaded.network, loaded.facts.config
    if not isinstance(small, RRDBNet) or config["plus"]:
        raise UsageError(f"only an RRDBNet can grow, not ESRGAN+ or {loaded.facts.architecture}")
    wanted = {"num_feat": num_feat, "num_block": num_block, "num_grow_ch": num_grow_ch}
    sizes = {name: int(config[name]) if size is None else size for name, size in wanted.items()}
    for name, size in sizes.items():
        if size < int(config[name]):
            raise UsageError(f"{name} is {config[name]} and cannot shrink to {size}")
    old_scale, old_unshuffle = int(config["scale"]), int(config["unshuffle"])
    scale = old_scale if scale is None else scale
    unshuffle = _unshuffle_for(scale, old_scale, old_unshuffle)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        large = RRDBNet(
            num_in_ch=int(config["num_in_ch"]),
            num_out_ch=int(config["num_out_ch"]),
            scale=scale,
            unshuffle=unshuffle,
            num_feat=sizes["num_feat"],
            num_block=sizes["num_block"],
            num_grow_ch=sizes["num_grow_ch"],
        )
    with torch.no_grad():
        _fill(large, small)
    return network_from_state_dict(large.state_dict())


def _unshuffle_for(scale: int, old_scale: int, old_unshuffle: int) -> int:
    """The pixel-unshuffle that brings a network of `old_scale` to `scale`."""
    factors = [factor for factor in (1, 2, 4) if old_unshuffle <= factor <= old_scale * old_unshuffle]
    possible = {old_scale * old_unshuffle // factor: factor for factor in factors}
    if scale not in possible:
        known = ", ".join(str(one) for one in sorted(possible))
        raise UsageError(f"a network of scale {old_scale} cannot get scale {scale}, only {known}")
    return possible[scale]


def _fill(large: RRDBNet, small: RRDBNet) -> None:
    _embed_first(large, small)
    stages = [f"conv_up{stage}" for stage in range(1, small.num_stages + 1)]
    for name in ("conv_body", *stages, "conv_hr", "conv_last"):
        _embed(large.get_submodule(name), small.get_submodule(name))
    for new, old in zip(large.body, small.body, strict=False):
        for new_block, old_block in zip(_dense_blocks(new), _dense_blocks(old), strict=True):
            _embed_dense_block(new_block, old_block)
    added = list(large.body)[len(small.body) :]
    for block in added:
        for dense_block in _dense_blocks(block):
            dense_block.conv5.weight.zero_()  # its bias is zero from the start
    kept = small.conv_body.out_channels
    large.conv_body.weight[:kept] /= (1 + RESIDUAL_SCALE) ** len(added)


def _embed_first(large: RRDBNet, small: RRDBNet) -> None:
    """The first convolution sees the mean of each square of pixels that a larger pixel-unshuffle puts into channels."""
    side, old_side = large.unshuffle, small.unshuffle
    ratio = side // old_side
    # Channel c u² + y u + x of an image unshuffled by u is row y and column x of the squares in channel c.
    places = torch.arange(large.conv_first.in_channels)
    image, row, column = places // side**2, places // side % side, places % side
    sources = image * old_side**2 + row // ratio * old_side + column // ratio
    kept = small.conv_first.out_channels
    large.get_parameter("conv_first.weight")[:kept] = small.conv_first.weight[:, sources] / ratio**2
    large.get_parameter("conv_first.bias")[:kept] = small.get_parameter("conv_first.bias")


def _dense_blocks(block: nn.Module) -> tuple[ResidualDenseBlock, ...]:
    if not isinstance(block, RRDB):
        raise TypeError(f"expected an RRDB, got {type(block).__name__}")
    return block.rdb1, block.rdb2, block.rdb3


def _embed_dense_block(new: ResidualDenseBlock, old: ResidualDenseBlock) -> None:
    new_feat, new_grow = new.conv1.in_channels, new.conv1.out_channels
    old_feat, old_grow = old.conv1.in_channels, old.conv1.out_channels
    inputs = torch.arange(old_feat)
    for layer in range(1, 6):
        name = f"conv{layer}"
        _embed(new.get_submodule(name), old.get_submodule(name), inputs)
        group = new_feat + (layer - 1) * new_grow  # where the concatenation has the output of this layer
        inputs = torch.cat((inputs, torch.arange(group, group + old_grow)))


def _embed(new: nn.Module, old: nn.Module, inputs: Tensor | None = None) -> None:
    """Give the first outputs of `new` the weights of `old` on `inputs` (by default the first), zeros elsewhere."""
    if not isinstance(new, nn.Conv2d) or not isinstance(old, nn.Conv2d) or new.bias is None or old.bias is None:
        raise TypeError(f"expected convolutions with a bias, got {new} and {old}")
    kept = old.out_channels
    new.weight[:kept] = 0
    new.weight[:kept, torch.arange(old.in_channels) if inputs is None else inputs] = old.weight
    new.bias[:kept] = old.bias
