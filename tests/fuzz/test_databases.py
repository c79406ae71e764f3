"""Damaged databases: each command that reads one prints, or refuses in words that name it, and leaves it as it is.

`pytest -m long` tries 1,000.
"""

import shutil
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from evoflash.cli.main import app
from evoflash.store import RunStore
from tests.fuzz.damage import with_changed_bytes
from tests.store import runs

relaxed = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))

COMMANDS = [
    ["runs", "list"], ["runs", "show"], ["runs", "show", "--json"], ["runs", "insights", "--all"], ["runs", "best"],
    ["lineage", "6"], ["show", "6"], ["diff", "6", "4"], ["runs", "export-t4"],
    ["replay", "1", "--strategy", "random", "--repeats", "1", "--evaluations", "5", "--jobs", "1"],
]  # fmt: skip
VALUES = [
    None, 0, -1, 1, 2, 1.5, 1e308, float("inf"), 2**62, -(2**63), "", "nan", "ünï", "\0", "1", "{}", "[]",
    "null", "[1]", '{"rows": [1]}', '{"a": []}', '{"name": 1}', '{"templates": 3}', "running", "ok", "2020-13-45",
    "x" * 300, b"", b"\xff\x00",
]  # fmt: skip
TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE '%version'"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("databases") / "whole.db"
    with RunStore.open(str(path), write=True) as store:
        runs.small_run(store)
        runs.small_run(store, with_finals=False)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    return path


def with_changed_cells(path: Path, draw: Any) -> None:
    """Sets a column of one row or of all rows, whatever its type and constraints."""
    with closing(sqlite3.connect(path)) as connection:
        table = draw(st.sampled_from([name for (name,) in connection.execute(TABLES)]))
        column = draw(st.sampled_from([each[1] for each in connection.execute(f"PRAGMA table_info({table})")]))
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE name = ?", (table,))
        connection.commit()
    where = draw(st.sampled_from(["", "WHERE rowid = 1", "WHERE rowid = 6"]))
    value = draw(st.sampled_from(VALUES))
    # An integer primary key takes no other value: then only the schema is changed.
    with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.IntegrityError):
        connection.execute(f'UPDATE OR IGNORE "{table}" SET "{column}" = ? {where}', (value,))
        connection.commit()


def outcomes(whole: Path, draw: Any, commands: list[list[str]]) -> Counter[str]:
    """Damages a copy and runs the commands on it; anything but a result or an error for the user is raised."""
    with TemporaryDirectory(dir=whole.parent) as folder:
        return _outcomes(Path(shutil.copy(whole, Path(folder) / "runs.db")), draw, commands)


def _outcomes(path: Path, draw: Any, commands: list[list[str]]) -> Counter[str]:
    if draw(st.integers(0, 3)):
        with_changed_cells(path, draw)
    else:
        path.write_bytes(with_changed_bytes(path.read_bytes(), draw))
    before, counts = path.read_bytes(), Counter[str]()
    for command in commands:
        result = CliRunner().invoke(app, [*command, "--db", str(path)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise AssertionError(f"{' '.join(command)} has no words for it") from result.exception
        assert result.exit_code in {0, 1, 2, 3}
        assert result.exit_code != 3 or "runs.db" in result.output
        counts["refused" if result.exit_code else "read"] += 1
    assert path.read_bytes() == before
    return counts


@settings(relaxed, max_examples=25)
@given(st.data(), st.permutations(COMMANDS))
def test_a_damaged_database_is_read_or_refused(whole, data, commands):
    outcomes(whole, data.draw, commands[:3])


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_thousand_damaged_databases(whole):
    counts: Counter[str] = Counter()

    @settings(relaxed, max_examples=1000, derandomize=False)
    @given(st.data())
    def trial(data):
        counts.update(outcomes(whole, data.draw, COMMANDS))

    trial()
    print(dict(counts))
    assert min(counts["read"], counts["refused"]) > 100
