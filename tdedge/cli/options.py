"""Options that several commands share, and what they become."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tdedge.errors import UsageError

if TYPE_CHECKING:
    from tdedge.artifact import Preprocessing
    from tdedge.plan import CompressionPlan
    from tdedge_exporters.planner.plan import TargetPlan
    from tdedge_exporters.prepare import Source as SourceSpec
    from tdedge_exporters.quantize.settings import Int8

#: What an export is lowered to unless told; equals ``lowering.DEFAULT_TARGETS``.
TARGETS = "onnxruntime,openvino,tflite"

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A .onnx file, module:factory or file.py:factory (runs your code), or a .pt2 file with --trust.",
    ),
]
Weights = Annotated[Path | None, typer.Option(help="State for a factory: .safetensors, or a .pt state dict.")]
InputShape = Annotated[
    list[str] | None,
    typer.Option("--input-shape", metavar="NAME=1,3,224,224", help="Static shape of an input; repeatable."),
]
PythonPath = Annotated[
    list[Path] | None,
    typer.Option("--python-path", help="Folder to import the factory's module from; repeatable."),
]
Trust = Annotated[bool, typer.Option("--trust", help="Load a .pt2 archive after scanning it.")]
PlanFile = Annotated[
    Path | None, typer.Option("--plan", help="Compression plan, TOML or JSON; or plan.json of an artifact.")
]
FormatName = Annotated[
    str | None, typer.Option("--format", help="Decompose every layer in this format (tucker, cp, tt, ...).")
]
Energy = Annotated[
    float | None, typer.Option(help="Ranks that keep this share of the energy, between 0 and 1.")
]
Ranks = Annotated[
    str | None, typer.Option(help="Rank rule 'evbmf', or explicit ranks such as 16,16 for every layer.")
]
RankRatio = Annotated[
    float | None, typer.Option("--rank-ratio", help="Ranks as this share of the layer's channels.")
]
Keep = Annotated[
    list[str] | None, typer.Option("--keep", help="Layer name or glob to leave dense; repeatable.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, all else on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No tables, no progress.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]
Explain = Annotated[
    bool, typer.Option("--explain", help="Say what was rewritten and planned where, and why, or why not.")
]
Effort = Annotated[
    str,
    typer.Option(
        help="How much to measure for the forms each target executes fastest: none, low, normal or max."
    ),
]
CostTable = Annotated[
    Path | None, typer.Option(help="File of measured times. [default: costs.sqlite in the user's cache]")
]
MinSqnr = Annotated[
    float | None,
    typer.Option(
        "--min-sqnr",
        metavar="DB",
        help="Smallest signal-to-noise ratio of 8-bit targets, in decibel. [default: 20; int8-weights 25]",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, write nothing.")]


def parse_shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """Shapes from ``NAME=1,3,224,224``; a shape without a name is for the only input.

    Raises:
        UsageError: when a shape is not a list of positive integers.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        name, _, sizes = text.rpartition("=")
        try:
            shape = tuple(int(size) for size in sizes.replace("x", ",").split(","))
        except ValueError:
            shape = ()
        if not shape or min(shape) < 1:
            raise UsageError(f"--input-shape {text!r}; expected NAME=1,3,224,224 with positive integers")
        shapes[name.strip()] = shape
    return shapes


def parse_plan(
    plan: Path | None,
    format_name: str | None,
    energy: float | None,
    ranks: str | None,
    ratio: float | None,
    keep: list[str] | None,
) -> CompressionPlan | None:
    """The compression plan the options ask for, or None where they ask for none.

    Raises:
        UsageError: when options contradict each other or name an unknown format or rank rule.
    """
    rules = {"--energy": energy, "--ranks": ranks, "--rank-ratio": ratio}
    given = [name for name, value in rules.items() if value is not None]
    if plan is not None:
        if format_name or given or keep:
            raise UsageError("--plan already says formats and ranks; drop --format, --keep and rank options")
        from tdedge.plan import load_plans

        return load_plans(plan)[0]
    if format_name is None:
        if given or keep:
            raise UsageError(f"{(given or ['--keep'])[0]} needs --format (tucker, cp, tt, ...)")
        return None
    if len(given) != 1:
        raise UsageError(
            f"--format {format_name} needs exactly one of --energy 0.9, --ranks evbmf, --ranks 16,16 "
            f"or --rank-ratio 0.25; got {', '.join(given) or 'none'}"
        )
    from tdedge.plan import make_plan

    return make_plan(
        format_name,
        energy=energy,
        ratio=ratio,
        ranks=_explicit(ranks) if ranks else None,
        rule=ranks if ranks and not _explicit(ranks) else None,
        keep=keep or [],
    )


def parse_int8(
    method: str | None,
    min_sqnr: float | None,
    keep_float: list[str] | None,
    no_equalise: bool,
    samples: int | None,
) -> Int8:
    """How int8 targets are quantised.

    Raises:
        UsageError: an unknown method, no samples, or a ratio that is not positive.
    """
    from tdedge_exporters.quantize.settings import Int8 as Settings

    return Settings(
        method=Settings.method if method is None else method,
        min_sqnr_db=min_sqnr,
        keep=tuple(keep_float or ()),
        equalise=not no_equalise,
        samples=Settings.samples if samples is None else samples,
    )


def parse_forms(plan: Path | None) -> dict[str, TargetPlan]:
    """Target -> how it executes the network, of the ``plan.json`` of an artifact; none in other plans.

    Raises:
        UsageError: when the file cannot be read or does not say what it should.
    """
    if plan is None:
        return {}
    from tdedge.plan import load_plans

    targets = load_plans(plan)[1]
    if not targets:
        return {}
    from tdedge_exporters.planner.plan import from_artifact

    return from_artifact(targets, str(plan))


def _explicit(ranks: str) -> list[int] | None:
    try:
        return [int(rank) for rank in ranks.split(",")]
    except ValueError:
        return None


def source(
    location: str,
    weights: Path | None,
    input_shape: list[str] | None,
    python_path: list[Path] | None,
    trust: bool,
) -> SourceSpec:
    """The source the options describe."""
    from tdedge_exporters.prepare import Source as Spec

    return Spec(location, parse_shapes(input_shape), weights, trust, tuple(python_path or ()))


def read_labels(path: Path | None) -> list[str] | None:
    """Class names, one per line.

    Raises:
        UsageError: when the file cannot be read or holds no name.
    """
    if path is None:
        return None
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").rstrip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--labels {path}: cannot be read as text: {error}") from error
    if not any(names):
        raise UsageError(f"--labels {path}: holds no name; expected one class name per line")
    return names


def read_preprocessing(path: Path | None) -> Preprocessing | None:
    """What the application does before the network.

    Raises:
        UsageError: when the file is no JSON of the expected keys.
    """
    if path is None:
        return None
    from pydantic import ValidationError

    from tdedge.artifact import Preprocessing as Model

    try:
        return Model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"--preprocessing {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise UsageError(f"--preprocessing {path}: {where}: {first['msg']}") from error
