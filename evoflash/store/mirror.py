"""Copies of runs as Optuna studies, which `optuna-dashboard sqlite:///runs/evoflash.db` shows, or any other URL."""

import contextlib
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, event, insert, select

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.errors import StorageError
from evoflash.store.claims import changing_tables
from evoflash.store.engine import BUSY_SECONDS, explained
from evoflash.store.location import resolve, shown
from evoflash.store.trials import Choices, distributions_of, trial_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import RDBStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial


class StudyMirror:
    """Copies recorded candidates into the study "run-<id>" as finished trials.

    Parameters are "family" and "<family>.<parameter>", all categorical; the value is the fitness in microseconds. A
    candidate without a fitness is a failed trial. User attributes hold index, operator, status and reason. Optuna does
    not allow the choices of a parameter to change within a study, so a value outside the original choices becomes a
    user attribute.
    """

    def __init__(self, url: str, run_id: int, strategy: str, spaces: Mapping[str, Choices]):
        """Creates the mirror; the database is first accessed by `sync`.

        Args:
            url: the database, as for `RunStore.open`.
            run_id: the run.
            strategy: stored as a user attribute of the study.
            spaces: family -> parameter -> choices.
        """
        self._url = resolve(url)
        self._name = f"run-{run_id}"
        self._strategy = strategy
        self._spaces = spaces
        self._known: set[int] | None = None  # indices in the study; read once, since one process writes a run
        self._distributions: dict[str, BaseDistribution] = {}

    def sync(self, pairs: Iterable[tuple[Candidate, Evaluation]]) -> int:
        """Adds the missing trials in one transaction; returns how many.

        Raises:
            StorageError: when the database cannot be written.
        """
        with self._study() as (study, storage):
            known = self._known if self._known is not None else self._load(study)
            new = {candidate.index: (candidate, evaluation) for candidate, evaluation in pairs}
            new = {index: pair for index, pair in new.items() if index not in known}
            trials = [trial_of(*pair, self._distributions) for pair in new.values()]
            if trials:
                study_id = storage.get_study_id_from_name(self._name)
                _insert(storage, study_id, len(known), trials, self._distributions)
            known |= set(new)
        return len(new)

    def _load(self, study: "Study") -> set[int]:
        """Reads the indices in the study, and the choices of its parameters."""
        self._distributions = distributions_of(self._spaces)
        self._known = set()
        for trial in study.get_trials(deepcopy=False):
            self._distributions.update(trial.distributions)
            self._known.add(trial.user_attrs["index"])
        return self._known

    @contextlib.contextmanager
    def _study(self) -> Iterator[tuple["Study", "RDBStorage"]]:
        import optuna

        options: dict[str, Any] = {}
        if self._url.get_backend_name() == "sqlite":
            options["connect_args"] = {"timeout": BUSY_SECONDS}
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it logs each study that it creates
        storage = None
        try:
            with explained(self._url, f"mirror {self._name} for Optuna"):
                with changing_tables(self._url):  # it creates its own, and two searches may end at once
                    storage = optuna.storages.RDBStorage(self._url.render_as_string(hide_password=False), options)
                if self._url.get_backend_name() == "sqlite":
                    storage.engine.dispose()
                    event.listen(storage.engine, "connect", _relax)
                study = optuna.create_study(
                    storage=storage, study_name=self._name, direction="minimize", load_if_exists=True
                )
                if "strategy" not in study.user_attrs:
                    study.set_user_attr("strategy", self._strategy)
                yield study, storage
        except (optuna.exceptions.StorageInternalError, RuntimeError) as error:
            raise StorageError(
                f"cannot mirror {self._name} in {shown(self._url)}: {error}; the run itself is recorded, try later"
            ) from error
        finally:
            optuna.logging.set_verbosity(verbosity)
            if storage is not None:
                storage.remove_session()
                storage.engine.dispose()


def _insert(
    storage: "RDBStorage",
    study_id: int,
    number: int,
    trials: Sequence["FrozenTrial"],
    distributions: Mapping[str, "BaseDistribution"],
) -> None:
    """Writes finished trials into Optuna's tables, numbered from `number`, in one transaction.

    `Study.add_trial` makes several queries per parameter: 25 ms per trial, or half a minute for a thousand.
    """
    from optuna.distributions import distribution_to_json

    schema = MetaData()
    schema.reflect(storage.engine, only=["trials", "trial_values", "trial_params", "trial_user_attributes"])
    heads = schema.tables["trials"]
    texts = {name: distribution_to_json(each) for name, each in distributions.items()}
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with storage.engine.begin() as connection:
        for place, trial in enumerate(trials, number):
            head = {"study_id": study_id, "number": place, "state": trial.state.name}
            dates = {"datetime_start": trial.datetime_start, "datetime_complete": trial.datetime_complete}
            rows[heads.name].append(head | dates)
        connection.execute(insert(heads), rows.pop(heads.name))
        new = select(heads.c.trial_id).where(heads.c.study_id == study_id, heads.c.number >= number)
        for trial_id, trial in zip(connection.scalars(new.order_by(heads.c.number)), trials, strict=True):
            own = {"trial_id": trial_id}
            if trial.value is not None:
                rows["trial_values"].append(own | {"objective": 0, "value": trial.value, "value_type": "FINITE"})
            for name, value in trial.params.items():
                place = distributions[name].to_internal_repr(value)
                rows["trial_params"].append(
                    own | {"param_name": name, "param_value": place, "distribution_json": texts[name]}
                )
            for key, value in trial.user_attrs.items():
                rows["trial_user_attributes"].append(own | {"key": key, "value_json": json.dumps(value)})
        for table, of_table in rows.items():
            connection.execute(insert(schema.tables[table]), of_table)


def _relax(connection: sqlite3.Connection, _record: object) -> None:
    """Relaxes durability: trials are copies, and the next sync adds lost ones again."""
    connection.execute("PRAGMA synchronous = NORMAL")
