"""What binds a planned network: its arithmetic, idle SIMD lanes and memory, as milliseconds on this machine.

Per node of the planned graph, by the roofline model (:mod:`tdedge_exporters.planner.roofline`) with the rates
this machine was seen to reach::

    arithmetic   flops / sgemm                                  what the multiply-accumulates take
    lanes        (lane_flops - flops) / sgemm                   vectors that are not full
    memory       max(0, bytes / stream - lane_flops / sgemm)    moving what computing does not hide

Their sum is an account only where it comes near what was measured: a network that is much faster than these
rates allow (convolutions that outdo the matrix product, data that stays in a cache) is bound by other things.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: Shares of the measured time, at least and at most, that the three must come to for an account of it.
EXPLAINS = (0.7, 1.05)


def bound_ms(
    work: Sequence[tuple[float, float, int]], sgemm_gflops: float, stream_gbs: float
) -> dict[str, float]:
    """The three parts, in milliseconds, and the rates they stand for."""
    computing = [lane_flops / sgemm_gflops for _, lane_flops, _ in work]
    moving = [moved / stream_gbs for _, _, moved in work]
    arithmetic = sum(flops for flops, _, _ in work) / sgemm_gflops
    memory = sum(max(0.0, move - compute) for move, compute in zip(moving, computing, strict=True))
    return {
        "arithmetic": arithmetic / 1e6,
        "lanes": max(sum(computing) - arithmetic, 0.0) / 1e6,
        "memory": memory / 1e6,
        "stream_gbs": stream_gbs,
    }


def account(bound: Mapping[str, float], measured_ms: float, sgemm_gflops: float) -> str:
    """The bound as a sentence; empty where it is not near the measured time."""
    parts = {name: bound.get(name, 0.0) for name in ("arithmetic", "lanes", "memory")}
    share = sum(parts.values()) / measured_ms
    if not EXPLAINS[0] <= share <= EXPLAINS[1]:
        return ""
    rates = f"{sgemm_gflops:.0f} GFLOP/s of a matrix product", f"{bound['stream_gbs']:.1f} GB/s"
    return (
        f"arithmetic takes {parts['arithmetic']:.1f} ms at the {rates[0]}, idle lanes {parts['lanes']:.1f} "
        f"ms, memory {parts['memory']:.1f} ms more at {rates[1]}: "
        f"{share:.0%} of the {measured_ms:.1f} ms measured"
    )
