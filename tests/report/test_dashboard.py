"""Runs in optuna-dashboard: each trial leads back to its candidate, and the database is only read."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from optuna.trial import TrialState

from evoflash.errors import MissingError, UsageError
from evoflash.report.dashboard import Server, Studies
from evoflash.store import RunStore
from tests.store import runs
from tests.store.runs import candidate, failed, ok, source

WAIT_S = 60


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "runs.db")


def studies_of(path: str, *run_ids: int):
    store = RunStore.open(path)
    return Studies(store, run_ids)


def note(attributes, trial: int | None) -> str:
    """What the page of a study or a trial shows."""
    from optuna_dashboard import _note  # which loads scikit-learn, for two seconds

    return _note.get_note_from_system_attrs(attributes, trial)["body"]


def trials(studies: Studies, number: int = 0):
    return studies.storage.get_all_trials(number)


def test_trials_have_the_numbers_parameters_and_times_of_their_candidates(path):
    with RunStore.open(path, write=True) as store:
        run = runs.small_run(store)
        recorded = store.stored(run)
    before = Path(path).read_bytes()
    studies = studies_of(path)
    assert studies.refresh() == 8
    assert studies.refresh() == 0
    found = trials(studies)
    assert [trial.number for trial in found] == [each.candidate.index for each in recorded] == list(range(8))
    assert [trial.value for trial in found] == [each.fitness_us for each in recorded]
    assert [trial.state for trial in found].count(TrialState.FAIL) == 2
    child = found[5]
    assert child.user_attrs["command"] == "evoflash show 6"
    assert child.user_attrs["parents"] == "4, 3"
    assert (child.user_attrs["operator"], child.user_attrs["status"]) == ("crossover", "ok")
    assert (child.user_attrs["cold us"], child.user_attrs["registers"], child.user_attrs["build s"]) == (40, 64, 1.25)
    assert found[4].user_attrs["reason"] == "the compiler refused it"
    assert found[6].user_attrs["duplicate of trial"] == 5
    assert child.user_attrs["cpu_flash.scale"] == 0.5  # the space of today has no such parameter
    assert child.datetime_complete is not None
    assert child.datetime_start is not None
    assert (child.datetime_complete - child.datetime_start).total_seconds() == pytest.approx(2.0)
    assert Path(path).read_bytes() == before


def test_the_fastest_and_the_run_have_a_page(path):
    with RunStore.open(path, write=True) as store:
        runs.small_run(store)
    studies = Studies(RunStore.open(path), more=" --db 'a b.db'")
    studies.refresh()
    (study,) = studies.storage.get_all_studies()
    assert study.study_name == "run 1: 1x2x64x64 float16"
    assert study.user_attrs["best"] == "candidate 6 (trial 5), 20.00 us"
    attributes = studies.storage.get_study_system_attrs(0)
    page = note(attributes, 5)
    for words in (
        "Candidate 6",
        "evoflash show 6 --db 'a b.db'",
        "evoflash diff 4 6 --db",
        "crossover* from candidate 4",
    ):
        assert words in page
    assert "evoflash runs show 1 --db" in note(attributes, None)


def test_a_running_search_is_followed_in_the_order_of_its_numbers(path):
    with RunStore.open(path, write=True) as store:
        run = runs.begin(store)
        for index in (0, 2):
            store.record(run, candidate(index), ok(10.0 + index), source(index), "cpp")
        studies = studies_of(path)
        assert studies.refresh() == 1  # 1 is on its way, and 2 waits for it
        store.record(run, candidate(1), failed(), source(1), "cpp")
        assert studies.refresh() == 2
        assert [trial.value for trial in trials(studies)] == [10.0, None, 12.0]
        store.record(run, candidate(5), ok(1.0), source(5), "cpp")
        assert studies.refresh() == 0
        store.finish_run(run, status="interrupted", reason="", elapsed_s=1.0)
        assert studies.refresh() == 1  # nothing comes before it any more
        assert [trial.user_attrs["candidate"] for trial in trials(studies)] == [1, 3, 2, 4]
        second = runs.small_run(store)
        assert studies.refresh() == 8
        assert len(trials(studies, 1)) == 8
        chosen = studies_of(path, second)
        assert chosen.refresh() == 8


def test_without_the_extra_it_says_what_to_install(path, monkeypatch):
    with RunStore.open(path, write=True) as store:
        runs.small_run(store)
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(MissingError, match=re.escape("pip install 'evoflash[dashboard]'")):
        studies_of(path)


def test_a_port_that_is_taken(path):
    with RunStore.open(path, write=True) as store:
        runs.small_run(store)
    with socket.socket() as other:
        other.bind(("localhost", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(UsageError, match="choose another --port"):
            Server(studies_of(path), "localhost", taken)


def test_the_command_serves_and_ends_by_a_signal(path):
    with RunStore.open(path, write=True) as store:
        runs.small_run(store)
    command = [sys.executable, "-m", "evoflash", "dashboard", "--db", path, "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        url = re.search(r"http://localhost:\d+/", line)
        assert url, line
        end = time.monotonic() + WAIT_S
        document = {"trials": []}
        while len(document["trials"]) < 8:
            assert time.monotonic() < end
            time.sleep(0.1)
            with contextlib.suppress(urllib.error.HTTPError):  # there is no study yet
                document = json.load(urllib.request.urlopen(f"{url[0]}api/studies/0", timeout=WAIT_S))
        attributes = {each["key"]: each["value"] for each in document["trials"][5]["user_attrs"]}
        assert attributes["command"] == "evoflash show 6"
        assert "Candidate 6" in document["trials"][5]["note"]["body"]
    finally:
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert rest == ""
