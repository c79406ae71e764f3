"""The CSV of ncu, as it is documented and as it comes."""

from pathlib import Path

import pytest

from evoflash.profiling import ncu

NAMES = [
    "ID", "Process ID", "Process Name", "Host Name", "Kernel Name", "Context", "Stream", "Block Size", "Grid Size",
    "Device", "CC", "dram__bytes_read.sum", "gpu__time_duration.sum", "launch__registers_per_thread",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed", "smsp__cycles_active.avg",
    "smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio",
    "smsp__average_warps_issue_stalled_long_scoreboard_not_issued_per_issue_active.ratio",
    "smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio",
    "smsp__average_warps_issue_stalled_selected_per_issue_active.ratio",
    "smsp__average_warp_latency_issue_stalled_wait.ratio",
]  # fmt: skip
HEAD = ["python3", "host", 'kernel(Arguments), "x"', "1", "7", "(128, 1, 1)", "(64, 1, 1)", "0", "9.0"]


def row(values: list[str]) -> str:
    return ",".join('"{}"'.format(value.replace('"', '""')) for value in values)


def output(units: list[str], *launches: list[str]) -> str:
    blank = [""] * (len(NAMES) - len(units))
    rows = [NAMES, [*blank, *units], *([str(number), "41", *HEAD, *each] for number, each in enumerate(launches))]
    said = ["==PROF== Connected to process 41 (python3)", '==PROF== Profiling "kernel" - 0: 0%....100% - 20 passes']
    return "\n".join([*said, "launched 2 of 2", *map(row, rows), ""])


BASE = ["byte", "ns", "register/thread", "%", "cycle", "inst", "inst", "inst", "inst", "inst"]


def test_chosen_metrics_of_each_launch():
    found = ncu.read(output(BASE, ["1,024", "5,472", "96", "55.5", "9", "3.0", "2.5", "1.0", "1.0", "2.0"]))
    assert found == [
        {
            "dram__bytes_read.sum": 1024.0,
            "gpu__time_duration.sum": 5472.0,
            "launch__registers_per_thread": 96.0,
            "sm__throughput.avg.pct_of_peak_sustained_elapsed": 55.5,
            "smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio": 3.0,
            "smsp__average_warps_issue_stalled_long_scoreboard_not_issued_per_issue_active.ratio": 2.5,
            "smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio": 1.0,
            "smsp__average_warps_issue_stalled_selected_per_issue_active.ratio": 1.0,
            "smsp__average_warp_latency_issue_stalled_wait.ratio": 2.0,
        }
    ]
    assert ncu.stalls(found[0]) == [
        ("long_scoreboard", pytest.approx(0.5)),
        ("wait", pytest.approx(1 / 3)),
        ("barrier", pytest.approx(1 / 6)),
    ]


def test_units_are_made_bytes_and_nanoseconds():
    scaled = ["Mbyte", "usecond", *BASE[2:]]
    (found,) = ncu.read(output(scaled, ["1.5", "5.472", "96", "nan", "", "", "", "", "", ""]))
    assert found["dram__bytes_read.sum"] == 1.5e6
    assert found["gpu__time_duration.sum"] == pytest.approx(5472)
    assert not any("stalled" in name for name in found)


def test_several_kernels_of_a_launch_are_one():
    first = {"gpu__time_duration.sum": 300.0, "dram__bytes_read.sum": 10.0, "sm__throughput": 80.0, "own": 1.0}
    second = {"gpu__time_duration.sum": 100.0, "dram__bytes_read.sum": 30.0, "sm__throughput": 40.0}
    found = ncu.merged([first, second])
    assert found["gpu__time_duration.sum"] == 400.0
    assert found["dram__bytes_read.sum"] == 40.0
    assert found["sm__throughput"] == pytest.approx(70.0)
    assert ncu.merged([first]) == first


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("==ERROR== ERR_NVGPUCTRPERM - The user does not have permission", "this user may not read the GPU's counters"),
        (
            "==PROF== Connected\n==ERROR== The application returned an error code (3).",
            "The application returned an error",
        ),
        ("Segmentation fault", "Segmentation fault"),
        ("", "it printed nothing"),
    ],
)
def test_without_a_table_it_says_why(said, why):
    assert ncu.read(said) == []
    assert ncu.why_not(said).startswith(why)


def test_the_command_profiles_under_the_conditions_of_a_timing():
    command = ncu.command("/bin/ncu", ["python", "x.py"])
    assert command[0] == "/bin/ncu"
    assert command[-2:] == ["python", "x.py"]
    for option, value in (("--page", "raw"), ("--cache-control", "none"), ("--clock-control", "none")):
        assert command[command.index(option) + 1] == value
    assert "WarpStateStats" in command


def test_what_ncu_printed_of_a_kernel_on_an_h200():
    output = (Path(__file__).parent.parent / "fixtures" / "ncu" / "mma_on_h200.csv").read_text(encoding="utf-8")
    first, second = ncu.read(output)
    assert first.keys() == second.keys()
    assert first["gpu__time_duration.sum"] == 8832
    assert first["launch__registers_per_thread"] == 78
    assert first["sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed"] == 9.88
    told = ncu.stalls(first)
    assert [name for name, _ in told[:3]] == ["wait", "barrier", "short_scoreboard"]
    assert sum(share for _, share in told) == pytest.approx(1)
