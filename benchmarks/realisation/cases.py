"""What is measured: networks x formats x ranks, and the rank rules by name.

A rank is a share of the channels the format's rank refers to; ``tiny`` is a sixteenth, at most 8, which is
what EVBMF tends to find in trained layers; ``unaligned`` is a quarter less 3, a multiple of no lane count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tdedge.errors import UsageError

FORMATS = ("tucker", "cp", "tt", "ht2", "ntt", "kcp")
RANKS = ("1/2", "1/4", "1/8", "tiny")
RUNTIMES = ("onnxruntime", "openvino", "tflite")
NETWORKS = ("thetis", "c3d", "r3d18", "r2plus1d18", "resnet18", "vgg16", "mobilenetv2")
#: Small networks, which only a quick run measures, and only where they are named.
SMALL_NETWORKS = ("video_net", "image_net")

#: On layers without taps every linear format is the truncated SVD: one row stands for all of them.
SVD = "svd"
#: Decomposed by tensorly-torch and exported as it exports.
TLTORCH = "tltorch-"

#: Networks beside the matrix, of full or of unaligned ranks, or decomposed by others.
_EXTRA = (
    ("r3d18", "kcp", "1"),
    ("r3d18", "cp", "1"),
    ("r3d18", "tucker", "unaligned"),
    ("resnet18", "tucker", "unaligned"),
    ("vgg16", "tucker", "unaligned"),
    ("resnet18", f"{TLTORCH}tucker", "1/4"),
    ("resnet18", f"{TLTORCH}cp", "1/2"),
    ("r3d18", f"{TLTORCH}tucker", "1/4"),
)

T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """One decomposed network."""

    network: str
    format: str
    rank: str

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.network} {self.format} {self.rank}"

    @property
    def aligned(self) -> Case | None:
        """The case whose ranks are the next multiples of the lanes; None where this one's are aligned."""
        return Case(self.network, self.format, "1/4") if self.rank == "unaligned" else None


@dataclass(frozen=True)
class Selection:
    """What of the matrix to run; an empty choice means all.

    Attributes:
        fresh: measure the chosen rows again, plans of dense networks included.
    """

    networks: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    ranks: tuple[str, ...] = ()
    fresh: bool = False

    @classmethod
    def parse(
        cls,
        networks: str,
        formats: str,
        runtimes: str,
        ranks: str,
        *,
        fresh: bool,
        others: Sequence[Case] = (),
    ) -> Selection:
        """From comma-separated words; ``others`` are cases beside the matrix that may be named too.

        Raises:
            UsageError: for a word that is none of those known.
        """
        every = [*(case for quick in (False, True) for case in _all(quick=quick)), *others]
        return cls(
            _words("--networks", networks, {case.network for case in every}),
            _words("--formats", formats, {case.format for case in every}),
            _words("--runtimes", runtimes, set(RUNTIMES)),
            _words("--ranks", ranks, {case.rank for case in every}),
            fresh,
        )

    def has(self, case: Case) -> bool:
        """Whether a case is chosen."""
        formats = {case.format, *(set(FORMATS) - {"ntt"} if case.format == SVD else ())}
        return (
            (not self.networks or case.network in self.networks)
            and (not self.formats or bool(formats & set(self.formats)))
            and (not self.ranks or case.rank in self.ranks)
        )

    def cases(self, *, quick: bool) -> list[Case]:
        """The chosen cases, network by network."""
        unnamed = () if self.networks else SMALL_NETWORKS
        return [case for case in _all(quick=quick) if self.has(case) and case.network not in unnamed]

    def targets(self) -> tuple[str, ...]:
        """The chosen runtimes."""
        return _chosen(RUNTIMES, self.runtimes)


def _all(*, quick: bool) -> list[Case]:
    if quick:
        small = [Case(network, "tucker", "1/4") for network in SMALL_NETWORKS]
        return [Case("thetis", "tucker", "published"), *small]
    cases = []
    for network in NETWORKS:
        if network == "thetis":
            cases.append(Case(network, "tucker", "published"))
            continue
        formats = (SVD,) if network == "mobilenetv2" else FORMATS
        cases += [Case(network, fmt, rank) for fmt in formats for rank in RANKS]
        cases += [Case(*extra) for extra in _EXTRA if extra[0] == network]
    return cases


def rank_of(rule: str, channels: int) -> int:
    """The rank that a rule gives for this many channels.

    Raises:
        UsageError: for an unknown rule.
    """
    if rule == "tiny":
        return max(1, min(8, channels // 16))
    if rule == "unaligned":
        return max(1, math.ceil(channels / 4) - 3)
    whole, _, part = rule.partition("/")
    if not whole.isdigit() or (part and not part.isdigit()):
        raise UsageError(f"unknown rank {rule!r}; expected one of 1, {', '.join(RANKS)}, unaligned")
    return max(1, math.ceil(channels * int(whole) / int(part or 1)))


def _words(option: str, text: str, known: Iterable[str]) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in words:
        if word not in known:
            raise UsageError(f"{option}: unknown {word!r}; expected some of {', '.join(sorted(known))}")
    return words


def _chosen(known: Sequence[T], wanted: Sequence[T]) -> tuple[T, ...]:
    return tuple(each for each in known if not wanted or each in wanted)
