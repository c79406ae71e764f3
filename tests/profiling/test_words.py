"""What bounds a kernel, in words."""

import pytest

from evoflash.evaluator.messages import Ceilings
from evoflash.problems.attention import AttentionProblem
from evoflash.profiling.floors import floors_us
from evoflash.profiling.words import words

PROBLEM = AttentionProblem.of(1, 8, 512, 64)
STALLED = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"


def said(copy: float, product: float, time_us: float, launch_us: float | None = 1.0, cache: int = 0, **counters):
    """The words for a device that copies, and multiplies, the problem in so many microseconds."""
    ceilings = Ceilings(
        copy_bytes_per_s=1e6 * PROBLEM.min_bytes / copy, flops_per_s=1e6 * PROBLEM.flops / product, dtype="float16"
    )
    floors = floors_us(PROBLEM, ceilings, {"empty_launch_us": launch_us})
    assert floors["memory"] == pytest.approx(copy)
    assert floors["arithmetic"] == pytest.approx(product)
    counters = {name.replace("__dot__", "."): value for name, value in counters.items()}
    return words(PROBLEM, ceilings, floors, time_us, counters, cache_bytes=cache, why_no_counters="no tool")


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ((8.0, 2.0, 10.0), "10 us a launch: memory bounds it, at 80% of what this device attains"),
        ((2.0, 9.0, 10.0), "10 us a launch: arithmetic bounds it, at 90% of what this device attains"),
        ((0.1, 0.1, 1.25), "1.25 us a launch: launch bounds it, at 80% of what this device attains"),
        (
            (2.0, 3.0, 10.0),
            "10 us a launch: latency bounds it, neither memory nor arithmetic: arithmetic, the nearest, is",
        ),
        ((2.0, 30.0, 10.0), "10 us a launch: faster than its floor by arithmetic, which was measured while other"),
        ((9.0, 3.0, 10.0, 1.0, 1 << 30), "10 us a launch: the cache bounds it, from which it moves its bytes at 90%"),
        ((30.0, 3.0, 10.0, 1.0, 1 << 30), "10 us a launch: the cache bounds it, from which it moves its bytes at 300%"),
    ],
)
def test_the_verdict(numbers, verdict):
    assert said(*numbers)[0].startswith(verdict)


def test_five_sentences_on_a_gpu():
    counters = {
        STALLED.format("long_scoreboard"): 6.0,
        STALLED.format("barrier"): 2.0,
        "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed": 12.3,
        "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed": 22.2,
    }
    ceilings = Ceilings(copy_bytes_per_s=2.5e12, flops_per_s=7e14, dtype="float16")
    floors = floors_us(PROBLEM, ceilings, {"empty_launch_us": 1.1})
    found = words(PROBLEM, ceilings, floors, 6.0, counters, cache_bytes=0)
    assert len(found) == 5
    assert found[0].startswith("6 us a launch: latency bounds it, above all waits for global or local memory")
    assert found[1] == ("memory: 2.1 MB that any kernel must move take 0.839 us at 2.5 TB/s of a copy, 14% of its time")
    assert "at 700 TFLOP/s of a matrix product (float16)" in found[2]
    assert found[3] == "launch: an empty kernel takes 1.1 us, 18% of its time"
    assert found[4] == (
        "top stall reasons: long_scoreboard 75%, barrier 25% (a warp waits for global or local memory); "
        "busy: memory 12%, tensor cores 22%"
    )


def test_a_cpu_has_instructions_and_threads_or_says_why_not():
    counters = {"cycles": 4e5, "instructions": 8e5, "cache-references": 100.0, "cache-misses": 25.0, "task-clock": 2e5}
    found = said(2.0, 3.0, 100.0, None, **counters)
    assert found[-2] == "threads: 2.00 cores were busy on average"
    assert found[-1] == "counters: 2.00 instructions a cycle, 25% of last-level references miss, 2.00 GHz"
    assert said(2.0, 3.0, 100.0, None)[-1] == "no counters: no tool"
    assert not any(each.startswith("launch") for each in found)
