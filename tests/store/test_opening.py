"""Opening: what is missing, locked, foreign, newer or cannot be written is said; a kill leaves whole records only."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from evoflash.errors import EvoflashError, NotFoundError, StorageError, UsageError
from evoflash.store import RunStore, migrate
from tests.store import runs
from tests.store.runs import candidate, ok, source

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.db"


def child(code: str, *arguments: str) -> subprocess.Popen:
    """Another process that runs this code; its standard input and output are piped."""
    script = "import sys, time\nfrom tests.store.runs import *\n" + textwrap.dedent(code)
    command = [sys.executable, "-c", script, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def test_nothing_to_read_yet(path):
    for _ in range(2):
        with pytest.raises(NotFoundError, match="evoflash search"):
            RunStore.open(str(path))
    assert not path.exists()
    path.touch()
    with pytest.raises(NotFoundError, match="evoflash search"):
        RunStore.open(str(path))


def test_a_path_and_its_url_are_the_same(path):
    with RunStore.open(f"sqlite:///{path}", write=True) as store:
        runs.begin(store)
    with RunStore.open(str(path)) as store:
        assert len(store.runs()) == 1


def test_a_reader_cannot_write(path):
    RunStore.open(str(path), write=True).close()
    with RunStore.open(str(path)) as store, pytest.raises(StorageError, match="open read-only"):
        runs.begin(store)


def test_readers_see_what_a_writer_has_recorded(path):
    with RunStore.open(str(path), write=True) as writer, RunStore.open(str(path)) as reader:
        run = runs.begin(writer)
        writer.record(run, candidate(0), ok(1.0), source(0))
        assert len(reader.recorded(run)) == 1
        assert reader.run().status == "running"


def test_a_second_writer_is_refused_while_the_first_lives(path):
    holder = child(
        "store = RunStore.open(sys.argv[1], write=True)\nprint('open', flush=True)\ntime.sleep(60)", str(path)
    )
    try:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StorageError, match=r"another search is writing to .*runs\.db; wait .* --db"):
            RunStore.open(str(path), write=True)
        with RunStore.open(str(path)) as reader:
            assert reader.runs() == []
    finally:
        holder.kill()
        holder.wait()
    RunStore.open(str(path), write=True).close()


def test_a_killed_writer_leaves_whole_records(path):
    code = """
        store = RunStore.open(sys.argv[1], write=True)
        run = begin(store)
        index = 0
        while True:
            parents = (index - 1,) if index else ()
            many = tuple(accuracy(str(n)) for n in range(20))
            store.record(run, candidate(index, *parents), ok(1.0 + index, accuracy=many), source(index) * 100)
            print(index, flush=True)
            index += 1
    """
    writer = child(code, str(path))
    told = [writer.stdout.readline() for _ in range(30)]
    time.sleep(0.05)
    writer.send_signal(signal.SIGKILL)
    last = int([*told, *writer.stdout.read().splitlines(keepends=True)][-1])
    writer.wait()
    with RunStore.open(str(path)) as reader:
        assert reader.run().status == "interrupted"
        found = reader.recorded(1)
    with RunStore.open(str(path), write=True) as store:
        assert store.run().status == "interrupted"
        assert len(found) in (last + 1, last + 2)  # the last may be recorded and not told
        for index, (one, evaluation) in enumerate(found):
            assert one.index == index
            assert len(evaluation.accuracy) == 20
            assert len(evaluation.timings) == 2
            assert store.candidate(store.candidate_id(1, index)).source == source(index) * 100
        store.record(1, candidate(len(found), len(found) - 1), ok(1.0), None)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_newer_database_is_refused_untouched(path):
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE {migrate.VERSION_TABLE} (version_num VARCHAR(32))")
        connection.execute(f"INSERT INTO {migrate.VERSION_TABLE} VALUES ('9999')")
    connection.close()
    before = path.read_bytes()
    for write in (True, False):
        with pytest.raises(StorageError, match=r"newer evoflash \(schema 9999.*pip install -U evoflash"):
            RunStore.open(str(path), write=write)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.glob("runs.db-*")] == []


@pytest.mark.parametrize("write", [True, False])
def test_what_is_no_database_is_refused(path, write):
    path.write_text("these are notes, not a database " * 100)
    with pytest.raises(StorageError, match="not an SQLite database"):
        RunStore.open(str(path), write=write)
    assert path.read_text().startswith("these are notes")


def test_tables_of_another_program_are_refused(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE runs (mine INTEGER)")
    connection.close()
    with pytest.raises(StorageError, match="another program"):
        RunStore.open(str(path), write=True)
    with pytest.raises(NotFoundError):
        RunStore.open(str(path))
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("runs",)]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", Path("/proc/evoflash")):
        with pytest.raises(StorageError, match=r"cannot write to .*--db"):
            RunStore.open(str(folder / "runs.db"), write=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_write_permission(path):
    with RunStore.open(str(path), write=True) as store:
        runs.small_run(store)
    for each in path.parent.iterdir():
        each.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        with pytest.raises(StorageError, match="--db"):
            RunStore.open(str(path), write=True)
        with RunStore.open(str(path)) as store:  # reading goes on
            assert store.run().candidates == 8
    finally:
        path.parent.chmod(0o755)


@pytest.mark.parametrize(
    ("pragma", "advice"),
    [("max_page_count = 1", "free some space.*evoflash resume"), ("query_only = ON", "can be written")],
    ids=["full disk", "read-only"],
)
def test_a_write_that_fails_leaves_nothing(path, pragma, advice):
    with RunStore.open(str(path), write=True) as store:
        run = runs.begin(store)
        store.record(run, candidate(0), ok(1.0), source(0))
        with store._engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA {pragma}")
        with pytest.raises(StorageError, match=f"record candidate 1 of run 1 in .*{advice}"):
            store.record(run, candidate(1, 0), ok(1.0), source(1) * 10_000)
    with RunStore.open(str(path)) as store:
        assert len(store.recorded(run)) == 1
        assert store.run().candidates == 1


def test_another_program_that_holds_the_file_is_told_of(path, monkeypatch):
    monkeypatch.setattr("evoflash.store.engine.BUSY_SECONDS", 0.05)
    with RunStore.open(str(path), write=True) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="another program is using it"):
            runs.begin(store)
        other.execute("ROLLBACK")
        other.close()
        assert runs.begin(store) == 1


def test_urls_that_make_no_sense():
    for url in ("nonsense://", "not a url://x", "nodialect://host/db"):
        with pytest.raises(UsageError, match="sqlite:///path"):
            RunStore.open(url)


def test_a_database_whose_driver_is_missing_is_named():
    with pytest.raises(EvoflashError, match=r"pip install|connect") as caught:
        RunStore.open("postgresql+pg8000://nobody@127.0.0.1:1/none")
    assert "nobody@127.0.0.1" in str(caught.value)


@pytest.mark.parametrize(
    ("table", "column", "value", "call"),
    [
        ("runs", "problem", "{", lambda store: store.runs()),
        ("runs", "finished_at", 1e308, lambda store: store.runs()),
        ("candidates", "genome", "[1]", lambda store: store.recorded(1)),
        ("candidates", "index", "first", lambda store: store.recorded(1)),
        ("candidates", "index", 1000, lambda store: store.recorded(1)),
        ("candidates", "fitness_us", "fast", lambda store: store.outcomes(1)),
        ("builds", "seconds", "{}", lambda store: store.recorded(1)),
        ("builds", "registers", "many", lambda store: store.candidate(1)),
        ("sources", "text", b"\xff\x00", lambda store: store.candidate(1)),
        ("timings", "samples", b"abc", lambda store: store.recorded(1)),
        ("timings", "samples", "text", lambda store: store.recorded(1)),
        ("finals", "ratios", '{"sdpa": [1]}', lambda store: store.finals(1)),
        ("insights", "generation", "{}", lambda store: store.insights(1)),
        ("insights", "data", '{"a": 1}', lambda store: store.finals(1)),
    ],
)
def test_a_damaged_value_is_refused_with_the_name_of_the_database(path, table, column, value, call):
    with RunStore.open(str(path), write=True) as store:
        runs.small_run(store)
    with sqlite3.connect(path) as connection:
        connection.execute(f'UPDATE OR IGNORE {table} SET "{column}" = ?', (value,))
    connection.close()
    with (
        RunStore.open(str(path)) as store,
        pytest.raises(StorageError, match=r"runs\.db: a value is damaged .*restore"),
    ):
        call(store)


@pytest.mark.parametrize("error", [TypeError, ValueError, KeyError])
def test_a_mistake_of_a_reader_does_not_look_like_damage(path, monkeypatch, error):
    def mistaken(*_):
        raise error("a bug")

    with RunStore.open(str(path), write=True) as store:
        runs.small_run(store)
    monkeypatch.setattr("evoflash.store.reading.candidates.parents_of", mistaken)
    with RunStore.open(str(path)) as store, pytest.raises(error, match="a bug"):
        store.recorded(1)


def test_a_damaged_schema_is_refused_with_the_name_of_the_database(path):
    """SQLite's message quotes the schema, which is no UTF-8."""
    RunStore.open(str(path), write=True).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    data = path.read_bytes()
    damaged = data.replace(b"CREATE TABLE runs (", b"CREATE TABLE \xc3uns (")
    assert damaged != data
    path.write_bytes(damaged)
    for write in (True, False):
        with pytest.raises(StorageError, match=r"runs\.db"):
            RunStore.open(str(path), write=write)
