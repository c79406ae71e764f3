"""The tables of `evoflash bench`."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Protocol

from evoflash.bench.measurement import CaseTally, Entry, ShapeResult
from evoflash.core.reliability import Reliability
from evoflash.core.statistics import Ratio
from evoflash.report.tables import Sheet, digits, times, us

COLUMNS = "|>p50, us|>p90|>p99|>TFLOP/s|>GB/s|>vs best|>vs plain|>cold p50, us|>registers|>shared|>spills|"


def shape_sheet(result: ShapeResult) -> Sheet:
    """Baselines and kernels by time, then those without times, each with the reason."""
    timed = [entry for entry in (*result.baselines, *result.kernels) if entry.p50_us is not None]
    rows = [_row(entry) for entry in sorted(timed, key=lambda entry: entry.p50_us or 0.0)]
    known = {entry.name: entry for entry in result.kernels}
    blank = ("",) * (COLUMNS.count("|") - 1)
    for name, reason in result.failures.items():
        status = f"{known[name].status}: " if name in known else ""
        rows.append((name, *blank, f"{status}{reason}"))
    title = (
        f"{result.shape}: {result.label}, {digits(result.flops / 1e9)} GFLOP, {digits(result.min_bytes / 1e6)} MB, "
        f"{result.rounds} rounds"
    )
    return Sheet.of(title, COLUMNS, rows)


class CallTimes(Protocol):
    """The times of a kernel's calls from Python; see `evoflash.export.calls.Calls`."""

    @property
    def us(self) -> Mapping[str, float]:
        """Microseconds by function."""
        ...

    @property
    def by(self) -> str:
        """What computes."""
        ...

    @property
    def rival(self) -> str:
        """PyTorch's way, as it is named in `us`."""
        ...


def calls_sheet(shape: str, found: Mapping[str, CallTimes | str]) -> Sheet:
    """The time of a call of each kernel's export beside PyTorch's, back to back and without a CUDA graph.

    A package for attention has a drop-in, unless SDPA has no arguments for the problem.
    """
    measured = [calls for calls in found.values() if not isinstance(calls, str)]
    functions = dict.fromkeys(name for calls in measured for name in calls.us if name != calls.rival)
    rivals = dict.fromkeys(calls.rival for calls in measured)
    rows = [
        (name, *[""] * (len(functions) + 1), calls)
        if isinstance(calls, str)
        else (
            name,
            *(us(calls.us[each]) if each in calls.us else "" for each in (*functions, calls.rival)),
            calls.by,
        )
        for name, calls in found.items()
    ]
    rival = " or ".join(rivals) or "PyTorch"
    named = {"scaled_dot_product_attention": "drop-in"}
    columns = "|".join(["kernel", *(f">{named.get(each, each)}" for each in functions), f">{rival}", ""])
    return Sheet.of(f"{shape}: calls from Python, us", columns, rows)


def self_test_sheet(label: str, found: Sequence[Reliability]) -> Sheet:
    """How often a kernel was found to differ from itself, and from itself with 2 % more work."""
    columns = (
        "|>p50, us|>trials|>rounds|>launches a sample|>false alarms|>95 % interval|>2 % detected|>95 % interval"
        "|>median ratio, same|>2 % more|>seconds|verdict"
    )
    rows = []
    for each in found:
        same, more = (statistics.median(ratio.value for ratio in ratios) for ratios in (each.same, each.more))
        spans = [f"[{low:.1%}, {high:.1%}]" for low, high in (each.false_alarm_interval, each.detected_interval)]
        shares = [f"{count / each.trials:.1%}" for count in (each.false_alarms, each.detected)]
        head = (each.name, us(each.p50_us), each.trials, each.rounds, each.launches)
        tail = (f"{same:.4f}", f"{more:.4f}", f"{each.seconds:.0f}", each.verdict)
        rows.append((*head, shares[0], spans[0], shares[1], spans[1], *tail))
    return Sheet.of(f"self-test: {label}", columns, rows)


def kernels_sheet(results: Sequence[ShapeResult]) -> Sheet:
    """The family and genome of each kernel by shape, and how the genome was chosen."""
    shapes: dict[tuple[object, ...], list[str]] = {}
    for result in results:
        for entry in result.kernels:
            if entry.genome is not None:
                genome = ", ".join(f"{name}={value}" for name, value in entry.genome.items())
                shapes.setdefault((entry.name, entry.family, entry.note, genome), []).append(result.shape)
    rows = [(*key[:2], ", ".join(names), *key[2:]) for key, names in shapes.items()]
    return Sheet.of("kernels", "name|family|shapes|note|genome", rows)


def cases_sheets(tallies: Sequence[CaseTally]) -> list[Sheet]:
    """A table of passes and failures by kernel, and a table of the failures."""
    rows = [
        (
            tally.kernel,
            tally.of,
            len(tally.passed),
            len(tally.failed),
            len(tally.declined),
            _short(tally.worst_max_ratio),
            _short(tally.worst_rms_ratio),
            tally.worst_case,
        )
        for tally in tallies
    ]
    columns = "kernel|cases|>passed|>failed|>declined|>worst max error / allowed|>rms / allowed|worst case"
    failures = [(tally.kernel, tally.of, name, why) for tally in tallies for name, why in tally.failed.items()]
    return [
        Sheet.of("correctness", columns, rows),
        Sheet.of("cases that failed", "kernel|cases|case|why", failures),
    ]


def _row(entry: Entry) -> tuple[object, ...]:
    build = entry.build
    return (
        entry.name,
        us(entry.p50_us),
        us(entry.p90_us),
        us(entry.p99_us),
        _short(entry.tflops),
        _short(entry.gbytes_per_s),
        _ratio(entry.vs_best),
        _ratio(entry.vs_math),
        us(entry.cold.p50_us) if entry.cold else "",
        _figure(build.registers) if build else "",
        _figure(build.shared_bytes) if build else "",
        _figure(build.spill_bytes) if build else "",
        f"baseline {entry.version}" if entry.origin is None else entry.status,
    )


def _figure(value: int | None) -> object:
    return value if value is not None else ""


def _ratio(ratio: Ratio | None) -> str | None:
    return times(ratio.value, ratio.low, ratio.high) if ratio is not None else None


def _short(value: float | None) -> str | None:
    return f"{value:.3g}" if value is not None else None
