"""One PostgreSQL database for a team: several drivers at once, killed drivers, a server that restarts, who may what."""

import sys
import threading

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg import sql
from sqlalchemy import create_engine, inspect
from typer.testing import CliRunner

import evoflash
from evoflash import targets
from evoflash.cli.main import app
from evoflash.errors import MissingError, NotFoundError, StorageError, UsageError
from evoflash.report.dashboard import Studies
from evoflash.store import RunStore, StudyMirror, location, migrate
from evoflash.store.models import Base
from tests import postgres
from tests.faults import command as command_line
from tests.helpers import TINY, Quiet, plan
from tests.made_up import MadeUpToolchain, made_up_search
from tests.store import runs
from tests.store.runs import candidate, failed, ok, source
from tests.store.test_opening import child


@pytest.fixture
def database(server, request):
    """A database of the test's own."""
    name = request.node.name[:60]
    yield server.create(name)
    with server.connect("postgres") as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_migrations_make_what_the_models_say_and_go_down_and_up(database):
    engine = create_engine(database)
    with engine.begin() as connection:
        migrate.upgrade(connection)
        context = MigrationContext.configure(connection, opts={"version_table": migrate.VERSION_TABLE})
        assert compare_metadata(context, Base.metadata) == []
        command.downgrade(migrate.config(connection), "base")
        assert inspect(connection).get_table_names() == [migrate.VERSION_TABLE]
    with RunStore.open(database, write=True) as store:
        assert runs.small_run(store) == 1
        before, finals = store.recorded(1), store.finals(1)
    with engine.begin() as connection:
        command.downgrade(migrate.config(connection), "0001")
    engine.dispose()
    with RunStore.open(database) as store:  # reading brings it up to date as well
        assert (store.recorded(1), store.finals(1)) == (before, finals)


def test_drivers_that_find_an_empty_database_at_once_share_it(database):
    with pytest.raises(NotFoundError, match="evoflash search"):
        RunStore.open(database)
    errors, begun, start = [], [], threading.Barrier(4)

    def begin(number):
        try:
            start.wait(30)
            with RunStore.open(database, write=True) as store:
                run = runs.begin(store, seed=number)
                store.record(run, candidate(0), ok(1.0), source(0))
                StudyMirror(database, run, "random", {"cpu_flash": {}}).sync([(candidate(0), ok(1.0))])
                begun.append(run)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with RunStore.open(database) as store:
        assert sorted(begun) == [run.id for run in store.runs()] == [1, 2, 3, 4]
        assert {run.candidates for run in store.runs()} == {1}


WRITER = """
    with RunStore.open(sys.argv[1], write=True) as store:
        run = begin(store)
        print(run, flush=True)
        for index in range(int(sys.argv[2])):
            parents = (index - 1,) if index else ()
            store.record(run, candidate(index, *parents), ok(50.0 - index), source(index))
        print("recorded", flush=True)
        sys.stdin.readline()
        store.finish_run(run, status="done", reason="the budget is spent", elapsed_s=1.0)
"""


def test_two_drivers_write_two_runs_at_once_and_each_run_has_one(emptied):
    """The sources are the same in both runs, so that the drivers meet."""
    drivers = [child(WRITER, emptied, "40") for _ in range(2)]
    mine = {int(driver.stdout.readline()): driver for driver in drivers}
    assert sorted(mine) == [1, 2]
    assert [driver.stdout.readline() for driver in drivers] == ["recorded\n"] * 2
    with RunStore.open(emptied) as reader, RunStore.open(emptied, write=True) as third:
        for run in mine:
            assert [one.index for one, _ in reader.recorded(run)] == list(range(40))
            assert [len(ancestors) for ancestors in (reader.ancestry(reader.candidate_id(run, 39)),)] == [40]
            assert [count for count, _ in reader.improvements(run)] == list(range(1, 41))
            assert reader.run(run).status == "running"
            with pytest.raises(StorageError, match=rf"another process is searching run {run}; wait"):
                third.reopen_run(run)
        mine[1].kill()
        mine[1].wait()
        postgres.until(lambda: reader.run(1).status == "interrupted")
        assert "evoflash resume" in reader.run(1).stop_reason
        assert [each.status for each in reader.runs()] == ["interrupted", "running"]
        third.reopen_run(1)
        assert [each.status for each in reader.runs()] == ["running", "running"]
        mine[2].communicate("\n", timeout=60)
        assert mine[2].returncode == 0
        assert [each.status for each in reader.runs()] == ["running", "done"]
        third.finish_run(1, status="done", reason="", elapsed_s=1.0)
        third.reopen_run(2)
        assert third.run(2).status == "running"
    with RunStore.open(emptied) as reader:
        assert [each.status for each in reader.runs()] == ["done", "interrupted"]


def test_a_server_that_restarts_is_met_again_and_a_run_that_others_took_meanwhile_is_theirs(server, emptied):
    with RunStore.open(emptied, write=True) as store, RunStore.open(emptied) as reader:
        run, other = runs.begin(store), runs.begin(store)
        store.record(run, candidate(0), ok(1.0), source(0))
        server.stop()
        with pytest.raises(StorageError, match="check that the server runs"):
            store.record(run, candidate(1, 0), ok(1.0), source(1))
        server.start()
        assert [each.status for each in reader.runs()] == ["interrupted"] * 2  # nobody holds them
        store.record(run, candidate(1, 0), ok(1.0), source(1))
        assert [each.status for each in reader.runs()] == ["running"] * 2
        server.stop()
        server.start()
        with RunStore.open(emptied, write=True) as thief:
            thief.reopen_run(other)
            with pytest.raises(StorageError, match=f"another process is searching run {other}"):
                store.record(run, candidate(2, 1), ok(1.0), source(2))
        assert [one.index for one, _ in reader.recorded(run)] == [0, 1]


def test_who_may_only_read_reads_and_is_told_what_else_needs(server, emptied):
    with RunStore.open(emptied, write=True) as store:
        runs.small_run(store)
    with server.connect("migrated") as connection:
        connection.execute("CREATE USER reader; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    own = server.url("migrated", user="reader")
    with RunStore.open(own) as reader, reader._reading("look") as connection:
        assert reader.run().candidates == 8
        assert reader.finals(1).winner.index == 5
        with pytest.raises(Exception, match="read-only transaction"):
            connection.exec_driver_sql("DELETE FROM runs")
    with (
        RunStore.open(own, write=True) as store,
        pytest.raises(StorageError, match=r"begin a run in .*permission denied.*ask its owner"),
    ):
        runs.begin(store)
    with server.connect("migrated") as connection:
        connection.execute(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9999'")
    try:
        for write in (True, False):
            with pytest.raises(StorageError, match=r"newer evoflash \(schema 9999"):
                RunStore.open(own, write=write)
    finally:
        with server.connect("migrated") as connection:
            connection.execute(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '{migrate.HEAD}'")


def test_a_character_that_postgresql_lacks_and_a_number_too_large(emptied):
    with RunStore.open(emptied, write=True) as store:
        run = runs.begin(store)
        store.record(run, candidate(0), failed(reason="the kernel printed \0 and ünï \U0001f525"), source(0) + "\0")
        [(_, evaluation)] = store.recorded(run)
        assert evaluation.reason == "the kernel printed \ufffd and ünï \U0001f525"
        with pytest.raises(UsageError, match="beyond 64 bits"):
            runs.begin(store, seed=2**80)


def test_what_is_wrong_with_the_way_to_a_server_is_said_without_the_password(server, migrated):
    plain, network = server.url_by_network("migrated", password=None), server.url_by_network("migrated")
    RunStore.open(network).close()
    RunStore.open(network.replace("postgresql+psycopg", "postgresql")).close()
    secret = "hunter2"
    for url, words in {
        server.url_by_network("migrated", secret): "password authentication failed.*PGPASSWORD",
        plain: "no password supplied.*PGPASSWORD",
        server.url("none-yet"): 'database "none-yet" does not exist; create it: `createdb',
        server.url("migrated", user="nobody-known"): 'role "nobody-known" does not exist; name a user',
        f"postgresql+psycopg://me:{secret}@127.0.0.1:1/runs": "refused.*; check that the server runs",
        f"postgresql+psycopg://me:{secret}@no.such.invalid/runs": "; check that the server runs",
        f"postgresql+psycopg://me:{secret}@/runs?host=/no/folder": "No such file.*; check that the server runs",
        f"postgresql+psycopg://me:{secret}@/runs?host=/no/folder&sslpassword={secret}": "; check that the server runs",
    }.items():
        for write in (True, False):
            with pytest.raises(StorageError, match=words) as caught:
                RunStore.open(url, write=write)
            assert secret not in str(caught.value)
            assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="is not a database URL") as refused:
        RunStore.open(f"postgresql+psycopg://me:{secret}@127.0.0.1:port/runs")
    assert secret not in str(refused.value)


def test_a_location_is_printed_without_its_password():
    for url, printed in {
        "runs/evoflash.db": "runs/evoflash.db",
        "sqlite:///runs.db": "sqlite:///runs.db",
        "postgresql+psycopg://ann@db/kernels": "postgresql+psycopg://ann@db/kernels",
        "postgresql+psycopg://ann:a%40b@db:5433/kernels": "postgresql+psycopg://ann@db:5433/kernels",
        "postgresql://db/kernels?user=ann&password=secret": "postgresql://db/kernels?user=ann",
        "postgresql://ann:secret@db:port/x": "postgresql://db:port/x",
    }.items():
        assert location.without_password(url) == printed


def test_the_extra_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingError, match=r"pip install 'evoflash\[postgres\]'"):
        RunStore.open("postgresql://ann@db/kernels")


COMMANDS = [
    ["runs", "list"], ["runs", "list", "--json"], ["runs", "show", "1"], ["runs", "insights", "--all"],
    ["runs", "best", "1"], ["runs", "export-t4", "1"], ["lineage", "1"], ["show", "1", "--source"], ["diff", "1", "2"],
    ["report", "1", "2", "--out", "report.html"],
]  # fmt: skip


@pytest.mark.long  # two searches of kernels, built and timed
def test_a_search_of_kernels_beside_another_in_one_database_tells_its_password_to_nobody(
    server, emptied, tmp_path, monkeypatch
):
    """The first is killed before its finals, which take long."""
    secret = server.url_by_network("migrated")
    kernels = command_line.search(tmp_path, "--budget", "200", "--baseline", "none", db=secret)
    kernels.until(lambda: kernels.events())
    cpu = targets.detect("cpu")
    with RunStore.open(emptied, write=True) as store:
        toolchain = MadeUpToolchain(jitter=True)
        made_up = made_up_search([plan(cpu, "tiny", TINY, budget=20)], cpu, toolchain, store, Quiet())
        [outcome] = made_up.run()
        assert [one.index for one, _ in store.recorded(outcome.run_id)] == list(range(20))
        kernels.until(lambda: len(store.recorded(1)) >= 3)
        assert [run.status for run in store.runs()] == ["running", "done"]
    kernels.kill()
    told = {event["index"] for event in kernels.events()}
    with RunStore.open(emptied) as store:
        postgres.until(lambda: store.run(1).status == "interrupted")
        found = store.recorded(1)
    assert told <= {one.index for one, _ in found}
    assert any(evaluation.fitness_us for _, evaluation in found)

    monkeypatch.chdir(tmp_path)
    for arguments in COMMANDS:
        result = CliRunner().invoke(app, [*arguments, "--db", secret])
        assert result.exit_code == 0, f"{arguments}: {result.output}"
        assert result.output
        assert "horse" not in result.output, arguments
    run = evoflash.open_run(1, db=secret)
    assert run.summary.candidates == len(found)
    assert "horse" not in repr(run)
    studies = Studies(RunStore.open(secret), more="")
    assert studies.refresh() == 20 + len(found)
    with server.connect("migrated") as connection:
        names = [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        stored = [connection.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(name)))
                  .fetchall() for name in names]  # fmt: skip
    for text in (str(stored), kernels.said, (tmp_path / "report.html").read_text()):
        assert "horse" not in text


@pytest.mark.long  # two searches with finals, exports and reports
def test_two_real_searches_at_once_one_killed_and_resumed_elsewhere_and_a_third_that_starts_from_them(
    server, emptied, tmp_path
):
    secret = server.url_by_network("migrated")
    folders = [tmp_path / name for name in ("ann", "bob", "eve")]
    for folder in folders:
        folder.mkdir()
    ann, bob = (command_line.search(folder, "--budget", "8", "--baseline", "none", db=secret) for folder in folders[:2])
    with RunStore.open(emptied) as store:
        ann.until(lambda: len(ann.events()) >= 3)
        mine = next(run.id for run in store.runs() if len(store.recorded(run.id)) >= 3)
        ann.kill()
        elsewhere = command_line.Run(folders[2], "resume", str(mine), "--quiet", db=secret)
        if mine == 1 and elsewhere.end() == 3:  # it was the other's
            elsewhere = command_line.Run(folders[2], "resume", "2", "--quiet", db=secret)
        assert (elsewhere.end(), bob.end()) == (0, 0), elsewhere.said + bob.said
        assert [run.status for run in store.runs()] == ["done", "done"]
        for run in (1, 2):
            assert [one.index for one, _ in store.recorded(run)] == list(range(8))
            assert store.finals(run).winner is not None
        third = command_line.search(
            folders[0], "--budget", "8", "--warm-start", "auto", "--baseline", "none", db=secret
        )
        assert third.end() == 0, third.said
        assert {known["run"] for known in store.run(3).plan["warm"]} <= {1, 2}
        assert store.run(3).plan["warm"]
