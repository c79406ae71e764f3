"""The migrations make the tables of the models, beside Optuna's."""

import optuna
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, create_mock_engine, inspect
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.schema import CreateTable

from evoflash.store import RunStore, migrate
from evoflash.store.models import Base
from tests.store import runs


@pytest.fixture
def engine(tmp_path):
    made = create_engine(f"sqlite:///{tmp_path / 'runs.db'}")
    yield made
    made.dispose()


def test_the_last_migration_is_the_head():
    assert ScriptDirectory.from_config(migrate.config()).get_current_head() == migrate.HEAD


def test_migrations_make_what_the_models_say(engine):
    with engine.begin() as connection:
        migrate.upgrade(connection)
        context = MigrationContext.configure(connection, opts={"version_table": migrate.VERSION_TABLE})
        assert compare_metadata(context, Base.metadata) == []
        assert migrate.revision(connection) == migrate.HEAD


def test_down_and_up_again(engine):
    with engine.begin() as connection:
        migrate.upgrade(connection)
    with engine.begin() as connection:
        command.downgrade(migrate.config(connection), "base")
    with engine.begin() as connection:
        assert inspect(connection).get_table_names() == [migrate.VERSION_TABLE]
        assert migrate.revision(connection) is None
        migrate.upgrade(connection)
    with RunStore.open(str(engine.url.database), write=True) as store:
        assert runs.small_run(store) == 1


@pytest.mark.parametrize("first", ["evoflash", "optuna"])
def test_optuna_lives_in_the_same_file(tmp_path, first):
    url = f"sqlite:///{tmp_path / 'runs.db'}"

    def ours():
        with RunStore.open(url, write=True) as store:
            return runs.small_run(store)

    def theirs():
        storage = optuna.storages.RDBStorage(url)
        optuna.create_study(storage=storage, study_name="mine").optimize(lambda trial: trial.suggest_int("x", 0, 9), 2)
        storage.engine.dispose()

    for each in (ours, theirs) if first == "evoflash" else (theirs, ours):
        each()
    assert ours() == 2
    theirs_again = optuna.load_study(study_name="mine", storage=url)
    assert len(theirs_again.trials) == 2
    with RunStore.open(url) as store:
        assert [run.candidates for run in store.runs()] == [8, 8]


@pytest.mark.parametrize("dialect", [postgresql.dialect(), mysql.dialect()], ids=["postgresql", "mysql"])
def test_other_databases_can_have_the_tables(dialect):
    for table in Base.metadata.sorted_tables:
        assert str(CreateTable(table).compile(dialect=dialect)).strip().startswith("CREATE TABLE")
    made: list[str] = []
    mock = create_mock_engine("sqlite://", lambda statement, *_: made.append(str(statement.compile(dialect=dialect))))
    Base.metadata.create_all(mock, checkfirst=False)
    assert len(made) == len(Base.metadata.tables) + 6


def test_a_database_of_the_first_schema_is_brought_up_to_date_and_keeps_all(tmp_path):
    path = tmp_path / "runs.db"
    with RunStore.open(str(path), write=True) as store:
        assert runs.small_run(store) == 1
        before, finals = store.recorded(1), store.finals(1)
    old = create_engine(f"sqlite:///{path}")
    with old.begin() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")
        command.downgrade(migrate.config(connection), "0001")
        assert "group_id" not in {each["name"] for each in inspect(connection).get_columns("runs")}
    old.dispose()
    with RunStore.open(str(path)) as store:  # reading brings it up to date as well
        assert (store.recorded(1), store.finals(1)) == (before, finals)
        assert store.run(1).group_id is None
        assert [each.id for each in store.group(1)] == [1]
    with RunStore.open(str(path), write=True) as store:
        store.form_group([1, runs.small_run(store)])
        assert [each.id for each in store.group(2)] == [1, 2]
