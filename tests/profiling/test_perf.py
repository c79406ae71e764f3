"""The lines of `perf stat -x,`."""

import pytest

from evoflash.profiling import perf

COUNTED = """\
# started on Sat Nov 28 12:00:00 2026

1000000000,ns,duration_time,1000000000,100.00,,
1900.00,msec,task-clock,1900000000,100.00,1.900,CPUs utilized
12,,context-switches,1900000000,100.00,6.316,/sec
4000000000,,cycles:u,1900000000,100.00,2.105,GHz
8000000000,,instructions:u,1900000000,100.00,2.00,insn per cycle
200000,,cache-references:u,950000000,50.00,105.263,K/sec
50000,,cache-misses:u,950000000,50.00,25.00,of all cache refs
<not counted>,,branch-misses:u,0,0.00,,
"""
REFUSED = """\
<not supported>,,cycles,0,100.00,,
<not supported>,,instructions,0,100.00,,
82.95,msec,task-clock,82945549,100.00,0.667,CPUs utilized
"""


def test_counts_by_event_in_base_units():
    assert perf.read(COUNTED) == {
        "duration_time": 1e9,
        "task-clock": 1.9e9,
        "context-switches": 12.0,
        "cycles": 4e9,
        "instructions": 8e9,
        "cache-references": 200000.0,
        "cache-misses": 50000.0,
    }


def test_counts_of_a_launch():
    found = perf.a_launch(perf.read(COUNTED), launch_us=100.0)
    assert found["instructions"] == pytest.approx(8e5)
    assert found["task-clock"] == pytest.approx(1.9e5)
    assert "duration_time" not in found


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (REFUSED, "this machine lets nobody read the processor's counters"),
        (
            "Error:\nAccess to performance monitoring is limited. Consider adjusting perf_event_paranoid",
            "this user may",
        ),
        ("perf: command failed", "perf: command failed"),
        ("", "perf printed nothing"),
    ],
)
def test_what_is_not_counted_is_left_out_and_explained(said, why):
    assert not set(perf.read(said)) & set(perf.HARDWARE)
    assert perf.why_not(said).startswith(why)


def test_the_command_attaches_to_the_worker():
    command = perf.command("/usr/bin/perf")
    assert command[command.index("-p") + 1] == perf.PID
    assert set(perf.HARDWARE) <= set(command[command.index("-e") + 1].split(","))
