"""What a profile says, in five sentences."""

from __future__ import annotations

from collections.abc import Mapping

from evoflash.evaluator.messages import Ceilings
from evoflash.problems import Problem
from evoflash.profiling import ncu

NEAR = 0.6  # of a floor, from which on it is what bounds a kernel
NOISE = 0.05  # of a measured floor
BUSY = {  # how busy ncu says that units are, in percent
    "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed": "memory",
    "lts__throughput.avg.pct_of_peak_sustained_elapsed": "L2",
    "l1tex__throughput.avg.pct_of_peak_sustained_active": "L1 and shared memory",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "multiprocessors",
    "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed": "tensor cores",
}
PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def words(
    problem: Problem,
    ceilings: Ceilings,
    floors_us: Mapping[str, float],
    time_us: float,
    counters: Mapping[str, float],
    *,
    cache_bytes: int,
    why_no_counters: str = "",
) -> tuple[str, ...]:
    """Verdict, memory, arithmetic, launch or pace, and what the counters say or why there are none.

    Args:
        time_us: the median of a launch, with inputs warm in the cache.
        cache_bytes: of the last-level cache; 0 where it is not known.
    """
    shares = {name: floor / time_us for name, floor in floors_us.items()}
    copy, product = _scaled(ceilings.copy_bytes_per_s), _scaled(ceilings.flops_per_s)
    in_cache = problem.min_bytes <= cache_bytes
    found = [
        verdict(shares, time_us, counters, is_in_cache=in_cache),
        f"memory: {_scaled(problem.min_bytes)}B that any kernel must move take {_us(floors_us['memory'])} at {copy}B/s "
        f"of a copy, {shares['memory']:.0%} of its time{'; they fit the cache, which is faster' if in_cache else ''}",
        f"arithmetic: {_scaled(problem.flops)}FLOP take {_us(floors_us['arithmetic'])} at {product}FLOP/s of a matrix "
        f"product ({ceilings.dtype}), {shares['arithmetic']:.0%} of its time",
    ]
    if "launch" in floors_us:
        found.append(f"launch: an empty kernel takes {_us(floors_us['launch'])}, {shares['launch']:.0%} of its time")
    if "task-clock" in counters:
        found.append(f"threads: {counters['task-clock'] / (1e3 * time_us):.2f} cores were busy on average")
    found.append(counted(counters) or f"no counters: {why_no_counters}")
    return tuple(found)


def verdict(shares: Mapping[str, float], time_us: float, counters: Mapping[str, float], *, is_in_cache: bool) -> str:
    """The first sentence: what bounds the kernel."""
    head = f"{_us(time_us)} a launch: "
    cached = shares["memory"] if is_in_cache else 0.0  # the floor of memory beyond the cache binds nothing in it
    name, share = max(
        ((each, share) for each, share in shares.items() if not (is_in_cache and each == "memory")),
        key=lambda pair: pair[1],
    )
    if share > 1 + NOISE:
        return f"{head}faster than its floor by {name}, which was measured while other programs used the device"
    if share >= NEAR:
        return f"{head}{name} bounds it, at {share:.0%} of what this device attains"
    if cached >= NEAR:
        return f"{head}the cache bounds it, from which it moves its bytes at {cached:.0%} of the pace of a copy"
    stalls = ncu.stalls(dict(counters))
    why = f", above all {_stall(stalls[0][0])}" if stalls else ""
    nearest = f"{name}, the nearest, is {share:.0%} of its time"
    return f"{head}latency bounds it{why}, neither memory nor arithmetic: {nearest}"


def counted(counters: Mapping[str, float]) -> str:
    """What the counters say; nothing where there are none."""
    stalls = ncu.stalls(dict(counters))
    busy = [f"{word} {counters[name]:.0f}%" for name, word in BUSY.items() if name in counters]
    if stalls or busy:
        tops = ", ".join(f"{name} {share:.0%}" for name, share in stalls[:3])
        reason = f"top stall reasons: {tops} (a warp {_stall(stalls[0][0])})" if stalls else ""
        return "; ".join(part for part in (reason, f"busy: {', '.join(busy)}" if busy else "") if part)
    if "instructions" not in counters or not counters.get("cycles"):
        return ""
    parts = [f"{counters['instructions'] / counters['cycles']:.2f} instructions a cycle"]
    if counters.get("cache-references") and "cache-misses" in counters:
        parts.append(f"{counters['cache-misses'] / counters['cache-references']:.0%} of last-level references miss")
    if counters.get("task-clock"):
        parts.append(f"{counters['cycles'] / counters['task-clock']:.2f} GHz")
    return f"counters: {', '.join(parts)}"


def _stall(name: str) -> str:
    return ncu.MEANING.get(name, f"stalls by {name}")


def _us(value: float) -> str:
    return f"{value:.3g} us" if value < 1000 else f"{value / 1000:.3g} ms"


def _scaled(value: float) -> str:
    """1.23e9 -> "1.23 G"."""
    for scale, prefix in PREFIXES:
        if value >= scale:
            return f"{value / scale:.3g} {prefix}"
    return f"{value:.3g} "
