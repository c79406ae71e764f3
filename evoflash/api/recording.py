"""`evoflash.record`: a space measured into a file, over one sitting or several."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evoflash import config, targets
from evoflash.api import families as families_of
from evoflash.api.result import OnResult
from evoflash.api.searching import PathLike, folders, several
from evoflash.api.shapes import chosen as chosen_shapes
from evoflash.api.sitting import RecordedDocument, Say, Sitting
from evoflash.codegen.template import load
from evoflash.config import Settings
from evoflash.core.genome import Gene
from evoflash.errors import UsageError, unknown
from evoflash.evaluator import Limits
from evoflash.replay.recorded_file import require_name
from evoflash.run.plan import Plan, choose_families
from evoflash.run.survey import Survey
from evoflash.targets.devices import ALL

SAMPLES = 20  # of a timing: their median differs by less than that of two builds; a search takes 100 of the best
QUICK_SAMPLES = 3
MINUTES = 24.0 * 60


@dataclass(frozen=True, kw_only=True)
class RecordRequest:
    """The options of a recording, by the names that `evoflash.record` and the command line have for them.

    None means that an option was not given; see `evoflash.record` for each. `only` is --set.
    """

    family: Sequence[str]
    out: Path
    shape: str | None = None
    problem: str | None = None
    dtype: str | None = None
    only: Mapping[str, Sequence[Gene]] | None = None
    sample: int | None = None
    seed: int = 0
    minutes: float | None = None
    samples: int = SAMPLES
    target: str | None = None
    devices: str | None = None
    jobs: int | None = None
    templates: Sequence[Path] | None = None
    db: str | None = None
    cache: Path | None = None
    verbose: bool | None = None

    def prepare(self, say: Say = lambda _: None) -> Sitting:
        """Resolves the options on this machine, and takes in what earlier sittings have left.

        Args:
            say: is told what is not measured again.

        Raises:
            UsageError: for an option that means nothing here, and a file that records something else.
            SpaceError: for a family that does not take the shape, or a value that a parameter has not.
            MissingError: when the device or a compiler is not there.
        """
        require_name(self.out)
        settings = config.load(
            target=self.target,
            jobs=self.jobs,
            templates=list(self.templates) if self.templates else None,
            db=self.db,
            cache=self.cache,
            verbose=self.verbose,
        )
        for name in self.family:
            families_of.named(name, settings.templates)
        if not self.family:
            raise UsageError("no family is named; `evoflash templates list` shows them")
        if self.sample is not None and self.sample < 1:
            raise UsageError(f"--sample {self.sample} is no number of genomes; give 1 or more")
        taken, words = targets.detect_all(settings.target, self.devices or ALL, settings.arch, settings.debug)
        if words:
            say(words)
        device = taken[0]
        shapes = chosen_shapes(self.problem, [self.shape] if self.shape else None, self.dtype, settings, device.place)
        if len(shapes) > 1:
            raise UsageError(f"--shape names {len(shapes)} shapes ({', '.join(shapes)}); record one at a time")
        limits = {"minutes": MINUTES if self.minutes is None else self.minutes, "samples": self.samples}
        effort = config.effort("standard", device.name, settings.templates, **limits, quick_samples=QUICK_SAMPLES)
        plan = Plan.make(
            shapes,
            device,
            effort.model_copy(update={"give_up": False}),
            settings,
            effort_name="record",
            families=choose_families(list(shapes.values()), device, tuple(self.family), settings.templates),
            strategy="survey",
            seed=self.seed,
            limits=Limits(),
            survey=Survey(
                out=str(self.out.resolve()),
                sitting=uuid.uuid4().hex[:12],
                only=self._only(settings),
                sample=self.sample,
            ),
            devices=self.devices or ALL,
            device_count=len(taken),
        )
        return Sitting.of(self.out, plan, taken, settings, say)

    def _only(self, settings: Settings) -> dict[str, tuple[Gene, ...]]:
        """The values of --set; a name must be a parameter of one of the families at least."""
        only = {name: tuple(values) for name, values in (self.only or {}).items()}
        known = {name for each in self.family for name in load(each, settings.templates).declaration.parameters}
        for name in only:
            if name not in known:
                raise unknown("parameter", name, known)
        return only


def record(
    family: str | Sequence[str],
    out: PathLike,
    *,
    shape: str | None = None,
    problem: PathLike | None = None,
    dtype: str | None = None,
    only: Mapping[str, Sequence[Gene]] | None = None,
    sample: int | None = None,
    seed: int = 0,
    minutes: float | None = None,
    samples: int = SAMPLES,
    target: str | None = None,
    devices: str | None = None,
    jobs: int | None = None,
    templates: PathLike | Sequence[PathLike] | None = None,
    db: PathLike | None = None,
    cache: PathLike | None = None,
    on_result: OnResult | None = None,
) -> RecordedDocument:
    """Measures a space into a file, as `evoflash record` does: all of it, or a uniform sample.

    What the file has already is not measured again, so a large space can be measured in several sittings.

    Args:
        family: the families of kernels to measure.
        out: the file, T4 results, .json or .json.gz.
        shape: as in `evoflash.search`; one.
        problem: as in `evoflash.search`.
        dtype: as in `evoflash.search`.
        only: values of parameters that are measured, by name; other parameters have all of their values.
        sample: so many genomes of each family, drawn uniformly from its valid ones; default: all, where they can be
            listed.
        seed: of the order, and of the sample.
        minutes: of this sitting; default: a day.
        samples: timing samples of a configuration, whose median is its time.
        target: "auto", "cuda" or "cpu".
        devices: as in `evoflash.search`; all measure one file.
        jobs: parallel builds; default: the number of cores.
        templates: folders with your own templates/ and search_spaces/.
        db: the database that results are in until the sitting ends; default: runs/evoflash.db.
        cache: folder of the build cache; default: runs/builds.
        on_result: is called with each `Result`, as in `evoflash.search`.

    Returns:
        What the file has, of all sittings.

    Raises:
        UsageError: for an option that means nothing here, and a file that records something else.
        SpaceError: for a family that does not take the shape, or a value that a parameter has not.
        MissingError: when the device or a compiler is not there.
        StorageError: when file, database or build cache cannot be written.
        KeyboardInterrupt: after the results so far have been written.

    Example:
        >>> import evoflash                                                                 # doctest: +SKIP
        >>> evoflash.record("split", "split.t4.json.gz", shape="mission", sample=1000)      # doctest: +SKIP
    """
    request = RecordRequest(
        family=several(family),
        out=Path(out),
        shape=shape,
        problem=str(problem) if problem is not None else None,
        dtype=dtype,
        only=only,
        sample=sample,
        seed=seed,
        minutes=minutes,
        samples=samples,
        target=target,
        devices=devices,
        jobs=jobs,
        templates=folders(templates),
        db=str(db) if db is not None else None,
        cache=Path(cache) if cache is not None else None,
    )
    return request.prepare().run(on_result)
