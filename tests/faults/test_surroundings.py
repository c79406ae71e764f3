"""What goes wrong around a search: killed workers and compilers, a cache that rots, a full disk, a lock, a clock."""

import contextlib
import multiprocessing
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

from evoflash.core.status import Status
from tests.faults import driver
from tests.faults.command import (
    processes_of,
    recorded,
    require_all_reported,
    require_nothing_left,
    resume,
    search,
    status,
)


def kill_one(folder, *names: str) -> bool:
    """Kills one process of a search by what its command line holds."""
    for process in processes_of(folder):
        with contextlib.suppress(psutil.Error):
            if any(name in " ".join(process.cmdline()) for name in names):
                process.send_signal(signal.SIGKILL)
                return True
    return False


def spoil(folder, rng: random.Random) -> None:
    """Damages one file of a finished build, in one of the ways in which files are damaged."""
    files = sorted((folder / "builds").glob("??/*/kernel.so")) + sorted((folder / "builds").glob("??/*/report.json"))
    if not files:
        return
    victim = rng.choice(files)
    with contextlib.suppress(OSError):
        content = bytearray(victim.read_bytes())
        if not content:  # cut to nothing before, or only just begun
            return
        match rng.choice(["cut", "flip", "gone"]):
            case "cut":
                victim.write_bytes(content[: rng.randrange(len(content))])
            case "flip":
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
                victim.with_name("beside").write_bytes(
                    content
                )  # renamed: what is mapped must not change under a worker
                victim.with_name("beside").replace(victim)
            case _:
                victim.unlink()


@pytest.mark.long  # two searches
def test_killed_workers_and_compilers_and_a_rotten_cache_change_no_verdict(tmp_path):
    rng = random.Random(0)
    run = search(tmp_path, "--budget", "32", "--seed", "5")
    workers = builds = 0
    # Results to wait for: what is killed twice while it works on one candidate is the candidate's fault.
    next_build, next_worker, next_damage = 0, 4, 0
    while run.process.poll() is None and (workers < 1 or builds < 4):
        told = len(run.events())
        if told >= next_build and kill_one(tmp_path, *rng.choice([["cc1plus"], ["-o kernel.so"], ["ninja"]])):
            builds, next_build = builds + 1, told + 5
        if told >= next_worker and kill_one(tmp_path, "evoflash.worker.worker"):
            workers, next_worker = workers + 1, told + 6
        if told >= next_damage:
            spoil(tmp_path, rng)
            next_damage = told + 1
        time.sleep(rng.uniform(0.02, 0.2))
    assert run.end() == 0, run.said
    assert workers >= 1
    assert builds >= 4
    require_all_reported(tmp_path, run)
    found = recorded(tmp_path)
    assert [candidate.index for candidate, _ in found] == list(range(32))
    reasons = {each.reason for _, each in found if each.status not in (Status.OK, Status.DUPLICATE)}
    assert reasons == set()
    require_nothing_left(tmp_path)


@pytest.fixture
def small_disks(tmp_path):
    """File systems of 640 KiB of their own for the database and for the builds, each with what makes it larger."""
    disks = {name: tmp_path / f"disk-of-{name}" for name in ("runs", "builds")}

    def mount(disk, options: str) -> int:
        disk.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(disk)]
        return subprocess.run(command, capture_output=True).returncode

    mounted = [disk for disk in disks.values() if mount(disk, "size=640k") == 0]
    if len(mounted) < len(disks):
        pytest.skip("only root may mount the small file systems that this needs")
    yield disks, lambda name: mount(disks[name], "remount,size=64m")
    for disk in mounted:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.long  # three quarters of a minute
def test_full_disks_end_the_run_and_lose_nothing(tmp_path, small_disks):
    disks, enlarge = small_disks
    for name in ("runs.db", "runs.db-wal", "runs.db-shm"):
        (tmp_path / name).symlink_to(disks["runs"] / name)
    (tmp_path / "builds").symlink_to(disks["builds"])
    runs, count = [search(tmp_path, "--budget", "36", "--seed", "5")], 0
    for _ in disks:
        assert runs[-1].end() == 3, runs[-1].said
        full = "builds" if "cannot write builds" in runs[-1].said else "runs"
        assert ("No space left" if full == "builds" else "disk is full") in runs[-1].said
        assert "evoflash resume" in runs[-1].said
        require_nothing_left(tmp_path)
        require_all_reported(tmp_path, *runs)
        found = recorded(tmp_path)
        assert count <= len(found) < 36
        assert {each.status for _, each in found} <= {Status.OK, Status.DUPLICATE}
        count = len(found)
        enlarge(full)
        runs.append(resume(tmp_path))
    assert runs[-1].end() == 0, runs[-1].said
    assert count > 0
    assert len({run.said.count("cannot write builds") for run in runs}) == 2, "one of the disks was never full"
    found = recorded(tmp_path)
    assert [candidate.index for candidate, _ in found] == list(range(36))
    assert {each.status for _, each in found} <= {Status.OK, Status.DUPLICATE}
    require_all_reported(tmp_path, *runs)
    require_nothing_left(tmp_path)


def lock(path, seconds: float) -> subprocess.Popen:
    """Another program that holds the database for so long."""
    code = f"""
import sqlite3, time
connection = sqlite3.connect({str(path)!r}, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep({seconds})
connection.execute("ROLLBACK")
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize(("busy_s", "code"), [(30.0, 0), (0.2, 3)])
def test_a_database_that_another_program_locks(tmp_path, busy_s, code):
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.faults.driver"])
    changes = {"strategy": "random", "budget": 120, "seed": 1}
    run = processes.Process(target=driver.drive, args=(tmp_path, "said", changes, busy_s))
    run.start()
    end = time.monotonic() + 60
    while '"candidate"' not in ((tmp_path / "said").read_text() if (tmp_path / "said").exists() else ""):
        assert time.monotonic() < end
        time.sleep(0.005)
    other = lock(tmp_path / "runs.db", 1.5)
    run.join(60)
    assert run.exitcode == code, (tmp_path / "said").read_text()
    other.wait(60)
    if code:
        assert "another program is using it" in (tmp_path / "said").read_text()
        assert status(tmp_path) in ("interrupted", "failed")
        run = processes.Process(target=driver.drive, args=(tmp_path, "said-again", changes))
        run.start()
        run.join(60)
        assert run.exitcode == 0
    assert [candidate.index for candidate, _ in recorded(tmp_path)] == list(range(120))
    assert status(tmp_path) == "done"
