"""Ctrl-C, twice, and signals: a clean end, and nothing left."""

import contextlib
import signal
import time

import psutil
import pytest

from tests.faults.command import processes_of, require_all_reported, require_nothing_left, search, status

TWICE, BY_OTHERS = (signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@pytest.mark.parametrize("signals", [TWICE, pytest.param(BY_OTHERS, marks=pytest.mark.long)])
def test_ctrl_c_twice_ends_cleanly(tmp_path, signals):
    run = search(tmp_path, "--budget", "100")
    run.until(lambda: len(run.events()) >= 2)
    for each in signals:
        run.process.send_signal(each)
        time.sleep(0.03)
    assert run.end() == 130
    assert "evoflash resume 1" in run.said
    assert status(tmp_path) == "interrupted"
    require_nothing_left(tmp_path)
    require_all_reported(tmp_path, run)


def test_ctrl_c_before_the_first_candidate(tmp_path):
    run = search(tmp_path)
    run.until(lambda: "families: tiny" in run.said)
    run.process.send_signal(signal.SIGINT)
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130
    require_nothing_left(tmp_path)


def test_ctrl_c_while_sanitizers_watch_the_finalists(tmp_path):
    run = search(tmp_path, "--budget", "4", "--sanitize")
    run.until(lambda: any("sanitized_launch" in " ".join(line) for line in lines_of(tmp_path)))
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130
    assert status(tmp_path) == "interrupted"
    require_nothing_left(tmp_path)


def lines_of(folder):
    """The command lines of what lives."""
    found = []
    for process in processes_of(folder):
        with contextlib.suppress(psutil.Error):  # it has ended
            found.append(process.cmdline())
    return found
