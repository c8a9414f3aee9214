"""The decomposed networks as torch modules, their kernels random where fitting them would take hours.

What is measured depends on shapes alone. Convolutions with taps become chains of random kernels at the
ranks of the case; the first layer, pointwise convolutions beside others and Linear layers stay dense, as do
layers whose chain would multiply more often than they do. Inner factors of a linear chain that own no taps
(a 3x1x1 convolution has none in space) are composed into their neighbour: nobody would deploy them.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import torch
from torch import nn

from benchmarks.model_zoo.catalogue import ZOO, ZooNetwork
from benchmarks.model_zoo.weights import calibrate, example
from benchmarks.realisation.cases import TLTORCH, Case, rank_of
from tdedge import formats
from tdedge.chain import Chain
from tdedge.compose import compose
from tdedge.compress import LayerSite
from tdedge.errors import MissingError, UsageError
from tdedge.factor import Factor
from tdedge.networks import thetis
from tdedge.torch_layers import find, replace


def dense(name: str) -> nn.Module:
    """A network of the catalogue."""
    return ZOO[name].build()


def decomposed(case: Case) -> nn.Module:
    """The network of a case.

    Raises:
        UsageError: when no layer can be decomposed so.
        MissingError: tensorly-torch is asked for and not installed.
    """
    if case.rank == "published":
        return thetis.compressed().eval()
    entry = ZOO[case.network]
    network = entry.build()
    if case.format.startswith(TLTORCH):
        _factorise(network, entry, case.format.removeprefix(TLTORCH), case.rank)
    else:
        inputs = (example(entry.shape),)
        layers = find(network, inputs)
        sites = {name: layer.site for name, layer in layers.items()}
        chains = _chains(sites, entry, case)
        if not chains:
            raise UsageError(f"{case.name}: no layer has fewer multiply-accumulates when decomposed so")
        replace(network, layers, chains, inputs)
    calibrate(network, entry.shape)
    return network


def _chains(sites: dict[str, LayerSite], entry: ZooNetwork, case: Case) -> dict[str, Chain]:
    found = {}
    for seed, (name, site) in enumerate(sites.items()):
        if not is_decomposed(name, site.factor, entry) or site.fixed or site.input_shape is None:
            continue
        chain = random_chain(site.factor, case.format, case.rank, seed)
        if chain.macs(site.input_shape) < site.factor.macs(site.input_shape):
            found[name] = chain
    return found


def is_decomposed(name: str, factor: Factor, entry: ZooNetwork) -> bool:
    """Whether a layer of a network is one the benchmark decomposes."""
    if name in entry.stem or factor.spatial_rank == 0 or factor.groups > 1:
        return False
    return factor.is_pointwise == entry.pointwise


def random_chain(factor: Factor, format_name: str, rank: str, seed: int) -> Chain:
    """The chain of a format for a layer, at the ranks of a rule, with random kernels."""
    fmt = formats.get(format_name)
    ranks = [rank_of(rank, channels) for channels in fmt.channel_ranks(factor)]
    return without_idle_factors(fmt.scratch(factor, ranks, seed=seed))


def without_idle_factors(chain: Chain) -> Chain:
    """A linear chain with inner factors of one tap composed into the factor before them."""
    if not chain.is_linear:
        return chain
    kept = [chain.factors[0]]
    for factor in chain.factors[1:-1]:
        if all(size == 1 for size in factor.kernel_size):
            kept[-1] = compose(kept[-1], factor)
        else:
            kept.append(factor)
    return Chain((*kept, chain.factors[-1]), chain.format)


def _factorise(network: nn.Module, entry: ZooNetwork, factorization: str, rank: str) -> None:
    """Put convolutions of tensorly-torch in place of those that are decomposed, their weights random."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tltorch = importlib.import_module("tltorch")
        except ImportError:
            raise MissingError(
                "tensorly-torch is not installed; install it with: pip install 'tdedge[dev]'"
            ) from None
        for name, layer in list(network.named_modules()):
            if not isinstance(layer, nn.Conv2d | nn.Conv3d) or name in entry.stem or layer.groups > 1:
                continue
            if max(layer.kernel_size) == 1:
                continue
            outputs, inputs = layer.out_channels, layer.in_channels
            wanted: int | list[int] = rank_of(rank, max(outputs, inputs))
            if factorization == "tucker":
                wanted = [rank_of(rank, outputs), rank_of(rank, inputs), *layer.kernel_size]
            made = tltorch.FactorizedConv.from_conv(
                layer,
                rank=wanted,
                factorization=factorization,
                implementation="factorized",
                decompose_weights=False,
            )
            _rescale(made, layer)
            parent, _, attribute = name.rpartition(".")
            setattr(network.get_submodule(parent), attribute, made)


def _rescale(made: nn.Module, layer: nn.Module) -> None:
    """Scale the factors so that the kernel they stand for has the size of the dense one."""
    assert isinstance(layer.weight, torch.Tensor)
    with torch.no_grad():
        factorized: Any = made.weight
        parameters = list(factorized.parameters())
        norm = float(factorized.to_tensor().norm())
        share = (float(layer.weight.norm()) / max(norm, 1e-30)) ** (1 / len(parameters))
        for parameter in parameters:
            parameter.mul_(share)
