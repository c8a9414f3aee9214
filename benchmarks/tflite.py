"""Our TFLite files against those of other converters, for the same networks, in the same runtime.

Per form of a network, one process each converts it; the files that run are then measured in one
interleaved run. The peers' environments are made first and take gigabytes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.outcome import Outcome
from benchmarks.peers.comparison import FormResult, gates, markdown
from benchmarks.peers.convert import Conversion, Sample, convert
from benchmarks.peers.environment import cache_folder
from benchmarks.peers.peer import OURS, PEERS, Converter, ours
from benchmarks.small_networks import c3d, res2d
from tdedge.plan import CompressionPlan, make_plan
from tdedge.progress import Progress, track
from tdedge_exporters.prepare import Source, prepare
from tdedge_exporters.save import save_network
from tdedge_runtimes.client import measure_models
from tdedge_runtimes.environment import describe_environment
from tdedge_runtimes.measure import MeasureOptions

_ABOUT = (
    "Every file of a form is timed in one interleaved run in LiteRT; `tdedge is faster` and `heap over "
    "tdedge` are the peer's figure over ours. `own heap` is what a fresh process holds from the "
    "allocator after running the file, less a one-operation file. `conversion` is the wall time of the "
    "converter's process, imports included; ours verifies its file in that time. `error` is the largest "
    "difference to the original's outputs, relative to their scale. A gate is held against the worst "
    "form that a peer runs."
)


@dataclass(frozen=True)
class Network:
    """A network and its forms: name -> format and share of the channels, or None for dense."""

    name: str
    factory: Callable[[], nn.Module]
    shape: tuple[int, ...]
    forms: Mapping[str, tuple[str, float] | None]

    def plan(self, form: str) -> CompressionPlan | None:
        """The plan of one form; the first convolution stays dense in all."""
        chosen = self.forms[form]
        return make_plan(chosen[0], ratio=chosen[1], keep=["0"]) if chosen else None


NETWORKS = (
    Network(
        "c3d",
        c3d,
        (1, 3, 16, 112, 112),
        {
            "dense": None,
            "tucker": ("tucker", 0.5),
            "separable": ("spatial_svd", 0.5),
            "depthwise": ("kcp", 1.0),
        },
    ),
    Network(
        "res2d",
        res2d,
        (1, 3, 64, 64),
        {"dense": None, "tucker": ("tucker", 0.5), "cp": ("cp", 1.0)},
    ),
)
_QUICK_FORMS = ("tucker",)


def run(options: MeasureOptions, progress: Progress, *, quick: bool) -> Outcome:
    """Convert and measure every form; with ``quick`` one of each network.

    Raises:
        MissingError: the environment of a peer cannot be made.
        RuntimesError: a measurement failed.
    """
    cache = cache_folder()
    places = ((peer.name, peer) for peer in PEERS)
    label = f"Make the peers' environments in {cache}"
    peers = [peer.converter(cache) for peer in track(places, progress, label, len(PEERS))]
    cases = [
        (network, form) for network in NETWORKS for form in network.forms if not quick or form in _QUICK_FORMS
    ]
    steps = ((f"{network.name} {form}", (network, form)) for network, form in cases)
    results = [
        _form(network, form, (ours(), *peers), options)
        for network, form in track(steps, progress, "Convert and measure", len(cases))
    ]
    installed = {peer.name: peer.installed_bytes or 0 for peer in peers}
    checked = gates(results)
    return Outcome(
        environment=describe_environment(),
        about=_ABOUT,
        tables=markdown(results, installed),
        document={
            "schema_version": 1,
            "results": [_to_json(result) for result in results],
            "gates": [asdict(gate) for gate in checked],
            "installed_bytes": installed,
        },
        failures=tuple(gate.line() for gate in checked if not gate.passed),
    )


def _form(
    network: Network, form: str, converters: Sequence[Converter], options: MeasureOptions
) -> FormResult:
    """Convert one form with every converter and measure the files that run, ours first."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sample = write_sources(network, form, folder)
        conversions: dict[str, Conversion] = {}
        for converter in converters:
            output = folder / f"{converter.name.split()[0]}.tflite"
            source = folder / f"network{converter.reads}"
            conversions[converter.name] = convert(converter, source, output, sample)
        running = {
            name: {"path": str(conversion.file), "runtime": "tflite"}
            for name, conversion in conversions.items()
            if conversion.file is not None
        }
        result = measure_models(running, options) if OURS in running else None
    rank = len(network.shape) - 2
    return FormResult(network.name, form, rank, conversions, result)


def write_sources(network: Network, form: str, folder: Path) -> Sample:
    """Write one form as ``network.onnx`` and ``network.pt2``; its output on a seeded input, by torch."""
    prepared = prepare(Source(network.factory(), {"": network.shape}), network.plan(form))
    module: nn.Module = network.factory() if prepared.module is None else prepared.module
    module.eval()
    save_network(prepared, folder / "network.onnx", None, force=True)
    values = torch.from_numpy(np.random.default_rng(0).standard_normal(network.shape, dtype=np.float32))
    with torch.no_grad():
        torch.export.save(torch.export.export(module, (values,)), folder / "network.pt2")
        return Sample(values.numpy(), module(values).numpy())


def _to_json(result: FormResult) -> dict[str, Any]:
    conversions = {
        name: {"seconds": made.seconds, "error": made.error, "reason": made.reason or None}
        for name, made in result.conversions.items()
    }
    return {
        "network": result.network,
        "form": result.form,
        "conversions": conversions,
        "against": [asdict(other) for other in result.against()],
        "result": result.result,
    }
