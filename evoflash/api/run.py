"""A recorded run, as a program sees it."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evoflash import config
from evoflash.api import frames
from evoflash.api.exporting import Exported, export
from evoflash.api.figures import Figures
from evoflash.api.prepared import PreparedSearch
from evoflash.api.result import OnResult
from evoflash.api.words import RunWord
from evoflash.core.finals import Finals
from evoflash.errors import NotFoundError, UsageError
from evoflash.report import lineage as lineages
from evoflash.report import runs as report
from evoflash.report.runs import Best, RunReport
from evoflash.store import RunStore, RunSummary, StoredCandidate, location

if TYPE_CHECKING:
    from pandas import DataFrame

EVERYTHING = 2**31  # candidates: more than any run has


class Run:
    """A run of a search: one shape, or several that one kernel serves.

    It holds the run's number and the database's location, and reads the database whenever it is asked for something.
    So it may be used during the search, from any thread, and sent to another process.

    Attributes:
        id: the run's number.
        db: the database: a path or an SQLAlchemy URL.

    Example:
        >>> run = evoflash.open_run("best")                          # doctest: +SKIP
        >>> run.best.vs_best, run.best.vs_best_interval              # doctest: +SKIP
        (2.5, (2.47, 2.52))
        >>> run.candidates().groupby("family").p50_us.min()          # doctest: +SKIP
        >>> run.export("fast_attention").folder                      # doctest: +SKIP
    """

    def __init__(self, id: int, db: str):
        self.id = id
        self.db = db

    def __repr__(self) -> str:
        return f"Run({self.id}, db={location.without_password(self.db)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and (self.id, self.db) == (other.id, other.db)

    def __hash__(self) -> int:
        return hash((self.id, self.db))

    @property
    def summary(self) -> RunSummary:
        """Its settings, machine, status and totals."""
        with self._reading() as store:
            return store.run(self.id)

    @property
    def details(self) -> RunReport:
        """What `evoflash runs show` prints: the summary, counts, convergence, finals and insights."""
        with self._reading() as store:
            return report.report(store, self.id)

    @property
    def siblings(self) -> tuple[Run, ...]:
        """The runs of the same search over other shapes."""
        with self._reading() as store:
            return tuple(Run(each.id, self.db) for each in store.group(self.id) if each.id != self.id)

    @property
    def best(self) -> Best:
        """The winner of the finals, with its speed against the baselines; before them, the fastest candidate.

        Raises:
            NothingCorrectError: when the run has no correct candidate.
        """
        with self._reading() as store:
            return report.best(store, self.id)

    @property
    def finals(self) -> Finals | None:
        """Finalists and baselines with their interleaved samples, ratios and intervals; None before they ran."""
        with self._reading() as store:
            return store.finals(self.id)

    def source(self, candidate: int | None = None) -> str:
        """The rendered source of a candidate.

        Args:
            candidate: its id; by default the best of the run.

        Raises:
            NotFoundError: when it does not exist, is of another run, or has no source.
        """
        with self._reading() as store:
            stored = self._candidate(store, candidate)
        if stored.source is None:
            raise NotFoundError(f"candidate {stored.id} has no source; `evoflash show {stored.id}` shows why it failed")
        return stored.source

    def candidates(self) -> DataFrame:
        """All candidates, one per row; each gene and each figure of the compiler is a column.

        Columns `gene.NAME` and `build.NAME` are missing values where a family or a compiler does not have them.

        Returns:
            A frame with the index `candidate` (the id) and the columns index, family, operator, parents, status, stage,
            reason, p50_us, quick, duplicate_of, seconds, finished_at (UTC), genome_digest, source_digest.

        Raises:
            MissingError: when pandas is not installed; it comes with the extra `frames`.

        Example:
            >>> run.candidates().query("status == 'ok'").nsmallest(5, "p50_us")      # doctest: +SKIP
        """
        frames.require_pandas()
        with self._reading() as store:
            return frames.candidates(store.stored(self.id))

    def evaluations(self) -> DataFrame:
        """The correctness cases of all candidates, one per row, of the search and of the finals.

        Returns:
            A frame with the columns candidate, gate ("search" or "finals"), case, output, max_error, max_bound,
            sdpa_max_error, rms_error, rms_bound, sdpa_rms_error, mean_error, and share: the error over its bound.

        Raises:
            MissingError: when pandas is not installed; it comes with the extra `frames`.

        Example:
            >>> run.evaluations().groupby("case").share.max()        # doctest: +SKIP
        """
        frames.require_pandas()
        with self._reading() as store:
            return frames.evaluations(store.stored(self.id), store.finals(self.id))

    def samples(self) -> DataFrame:
        """The timing samples of candidates and baselines, one per row, of the search and of the finals.

        Returns:
            A frame with the columns name, candidate (missing for a baseline), gate ("search" or "finals"), regime
            ("warm" or "cold"), shape (empty unless one kernel serves several), sample (its number) and us.

        Raises:
            MissingError: when pandas is not installed; it comes with the extra `frames`.

        Example:
            >>> run.samples().query("gate == 'finals'").groupby("name").us.describe()    # doctest: +SKIP
        """
        frames.require_pandas()
        with self._reading() as store:
            return frames.samples(store.stored(self.id), store.finals(self.id))

    def lineage(self, candidate: int | None = None, *, full: bool = False) -> DataFrame:
        """The steps from parents to children, one per row, with what each changed and gained.

        Args:
            candidate: whose ancestors; by default those of the best.
            full: of the whole run instead.

        Returns:
            A frame with the columns candidate, parent (missing for a first ancestor), run, family, operator, status,
            p50_us, speedup (how many times faster than the parent) and changes (gene -> (parent's value, own value)).

        Raises:
            NotFoundError: when the candidate does not exist or is of another run.
            MissingError: when pandas is not installed; it comes with the extra `frames`.

        Example:
            >>> run.lineage().nlargest(3, "speedup")[["candidate", "changes", "speedup"]]    # doctest: +SKIP
        """
        frames.require_pandas()
        with self._reading() as store:
            if full:
                if candidate is not None:
                    raise UsageError("the full lineage is that of all candidates; leave out the candidate or full=True")
                found = lineages.of_run(self.id, store.relatives(self.id), EVERYTHING)
            else:
                found = lineages.of_candidate(store.ancestry(self._candidate(store, candidate).id))
        return frames.lineage(found)

    def speed(self) -> DataFrame:
        """How many times faster the winner of the finals is than each baseline.

        Returns:
            A frame with the index `baseline`, the fastest first, and the columns p50_us (the baseline's median),
            speedup (median of paired ratios), low and high (its 95 % bootstrap interval); no rows before the finals.

        Raises:
            MissingError: when pandas is not installed; it comes with the extra `frames`.

        Example:
            >>> run.speed().loc["sdpa-cudnn", ["speedup", "low", "high"]]    # doctest: +SKIP
        """
        frames.require_pandas()
        finals = self.finals
        return frames.speed(finals.winner if finals else None, finals.baselines if finals else ())

    @functools.cached_property
    def figures(self) -> Figures:
        """Its figures by name; they need the extra `report`. `dir(run.figures)` lists them.

        Example:
            >>> run.figures.progress().show()                        # doctest: +SKIP
        """
        return Figures(self.db, self.id)

    def report(self, out: str | os.PathLike[str]) -> Path:
        """Writes the run as one HTML file that needs no network, as `evoflash report` does.

        Args:
            out: the file.

        Raises:
            MissingError: when plotly is not installed; it comes with the extra `report`.
            StorageError: when the file cannot be written.

        Example:
            >>> run.report("report.html")                            # doctest: +SKIP
        """
        from evoflash.report import html  # loads plotly, which only a report needs

        with self._reading() as store:
            return html.write(store, [self.id], Path(out))

    def export(
        self,
        out: str | os.PathLike[str] | None = None,
        *,
        candidate: int | None = None,
        others: Sequence[Run] = (),
        name: str | None = None,
        sweep: str | None = None,
        prebuilt: bool = False,
        wheel: bool = False,
        format: str = "package",
        calls: bool = False,
    ) -> Exported:
        """Writes the winner as an installable package that does not need evoflash, as `evoflash export` does.

        Args:
            out: the folder, which may not hold anything but an earlier export; by default one below runs/exports.
            candidate: export this candidate, by its id, in place of the best.
            others: further runs of the same database, whose winners the package has as well.
            name: of the Python package.
            sweep: measure where the kernels are faster than SDPA, and ask them there alone: "lengths=64..4096".
            prebuilt: put the built libraries beside the source.
            wheel: make a wheel, too.
            format: "package", or another form that `evoflash export --help` lists.
            calls: time calls of the package from Python, and record the times with the run.

        Returns:
            Its `folder`, which goes into `sys.path`, and the name of the Python `package` in it.

        Raises:
            NothingCorrectError: when the run has no correct candidate.
            NoPackageError: for a kernel that no package can ask.
            UsageError: for a name, format or folder that cannot be taken.
            StorageError: when the folder cannot be written.

        Example:
            >>> exported = run.export("fast_attention", name="fast_attention")       # doctest: +SKIP
            >>> sys.path.insert(0, str(exported.folder))                             # doctest: +SKIP
            >>> import fast_attention                                                # doctest: +SKIP
        """
        if any(each.db != self.db for each in others):
            raise UsageError("a package has kernels of one database; leave out runs of another")
        if candidate is not None:
            if others:
                raise UsageError("a candidate is exported alone; leave out the candidate or the other runs")
            with self._reading() as store:
                self._candidate(store, candidate)
        return export(
            config.load(db=self.db),
            [self.id, *(each.id for each in others)],
            Path(out) if out is not None else None,
            candidate=candidate,
            name=name,
            sweep=sweep,
            prebuilt=prebuilt,
            wheel=wheel,
            form=format,
            calls=calls,
        )

    def resume(self, *, on_result: OnResult | None = None, cache: str | os.PathLike[str] | None = None) -> Run:
        """Goes on with an interrupted search, with all its shapes, as `evoflash resume` does.

        Args:
            on_result: as in `evoflash.search`; results on record are not told again.
            cache: folder of the build cache.

        Returns:
            This run.

        Raises:
            UsageError: when the search is done.
            StorageError: when templates or evoflash have changed, so that it cannot be resumed.
        """
        settings = config.load(db=self.db, cache=Path(cache) if cache is not None else None)
        PreparedSearch.resumed(self.id, settings).run(on_result)
        return self

    def _reading(self) -> RunStore:
        return RunStore.open(self.db)

    def _candidate(self, store: RunStore, candidate: int | None) -> StoredCandidate:
        """A candidate of this run, by default the best.

        Raises:
            NotFoundError: when it does not exist, or is of another run.
        """
        stored = store.candidate(candidate if candidate is not None else report.best(store, self.id).candidate)
        if stored.run_id != self.id:
            raise NotFoundError(
                f"candidate {stored.id} is of run {stored.run_id}; open that one with evoflash.open_run"
            )
        return stored


def open_run(run: int | str | os.PathLike[str] = "latest", *, db: str | os.PathLike[str] | None = None) -> Run:
    """Opens a recorded run.

    Args:
        run: its number, "latest" (the newest) or "best" (the highest speed-up over the best baseline), as on the
            command line; or the database itself, of which it is the latest.
        db: the database: the path of an SQLite file, or an SQLAlchemy URL; by default that of the settings
            (`EVOFLASH_DB`, evoflash.yaml), which is runs/evoflash.db.

    Raises:
        NotFoundError: when there is no such run or database.
        UsageError: for a word that names no run, or "best" of several problems or devices.
        StorageError: when the database cannot be read.

    Example:
        >>> evoflash.open_run("best").best.p50_us                    # doctest: +SKIP
        3.913
        >>> evoflash.open_run(3, db="elsewhere/runs.db").summary.status      # doctest: +SKIP
        'done'
    """
    text = os.fspath(run) if not isinstance(run, int) else str(run)
    if isinstance(run, os.PathLike) or "://" in text or (db is None and _is_database(text)):
        if db is not None:
            raise UsageError(f"{location.without_password(text)} is a database, and so is db; give one of them")
        text, db = "latest", text
    settings = config.load(db=os.fspath(db) if db is not None else None)
    word = RunWord.parse(text)
    with RunStore.open(settings.db) as store:
        return Run(word.find(store).id, settings.db)


def _is_database(text: str) -> bool:
    return text.endswith(".db") or (os.sep in text and os.path.isfile(text))
