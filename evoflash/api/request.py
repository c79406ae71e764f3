"""What a search is asked for, and what it comes to on this machine: plans, and the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from evoflash import config, proposers, targets
from evoflash.api import families, rivals
from evoflash.api.cluster import join, left_if_it_fails
from evoflash.api.prepared import PreparedSearch, place_of_finals
from evoflash.api.shapes import chosen as chosen_shapes
from evoflash.api.shapes import device_of
from evoflash.api.words import RunWord, is_run
from evoflash.codegen.template import load
from evoflash.config import Settings
from evoflash.errors import NotFoundError, SpaceError, UsageError
from evoflash.evaluator import Limits, sanitizers
from evoflash.evaluator.footprint import require_memory
from evoflash.problems import Problem
from evoflash.run import warm_start
from evoflash.run.plan import ONE, Plan, choose_families
from evoflash.store import RunStore
from evoflash.targets import Target
from evoflash.targets.devices import ALL, kinds, settled

Say = Callable[[str], None]
CUDA_ONLY = ("devices", "arch", "max_registers", "max_shared_kib", "no_spills")


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """The options of a search, by the names that `evoflash.search` and the command line have for them.

    None means that an option was not given; see `evoflash.search` for each.
    """

    shape: Sequence[str] = ()
    problem: str | None = None
    score: Literal["each", "robust"] = "each"
    dtype: str | None = None
    target: str | None = None
    devices: str | None = None
    finals_on: Literal["one", "each"] = ONE
    arch: str | None = None
    family: Sequence[str] = ()
    strategy: str = "evolution"
    effort: str = "standard"
    budget: int | None = None
    minutes: float | None = None
    patience: float | None = None
    warm_start: str = "auto"
    seed: int = 0
    max_registers: int | None = None
    max_shared_kib: float | None = None
    no_spills: bool = False
    sanitize: bool = False
    baseline: Sequence[str] = ()
    jobs: int | None = None
    templates: Sequence[Path] | None = None
    db: str | None = None
    cache: Path | None = None
    scheduler: str | None = None
    tls_ca_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    debug: bool | None = None
    calls: bool | None = None
    report: bool | None = None
    verbose: bool | None = None

    def prepare(self, say: Say = lambda _: None) -> PreparedSearch:
        """Resolves the options on this machine.

        Args:
            say: is told what was chosen by itself.

        Raises:
            UsageError: for an option that does not parse, does not exist or means nothing here.
            SpaceError: for a shape that no family takes.
            MissingError: when the device, a compiler or a package is not there.
        """
        settings = config.load(
            target=self.target,
            arch=self.arch,
            jobs=self.jobs,
            templates=list(self.templates) if self.templates else None,
            db=self.db,
            cache=self.cache,
            scheduler=self.scheduler,
            tls_ca_file=self.tls_ca_file,
            tls_cert=self.tls_cert,
            tls_key=self.tls_key,
            debug=self.debug,
            calls=self.calls,
            report=self.report,
            verbose=self.verbose,
        )
        proposers.require(self.strategy)
        for name in self.family:
            families.named(name, settings.templates)
        if settings.scheduler is None:
            return self._prepared(settings, self._devices(settings, say), say)
        cluster, taken, settings = join(settings, self.devices, say)
        with left_if_it_fails(cluster):
            return replace(self._prepared(settings, taken, say), cluster=cluster)

    def _prepared(self, settings: Settings, taken: Sequence[Target], say: Say) -> PreparedSearch:
        """The search on these devices."""
        device = taken[0]
        here = device.place if settings.scheduler is None else device_of(device.name)  # that of a cluster is elsewhere
        shapes = chosen_shapes(self.problem, self.shape or None, self.dtype, settings, here)
        for each in shapes.values():
            require_memory(each, device)
        if device.name == "cpu":
            self._refuse_what_is_for_cuda()
        if self.sanitize:
            sanitizers.require(device)
        limits = Limits(
            max_registers=self.max_registers,
            max_shared_bytes=None if self.max_shared_kib is None else int(self.max_shared_kib * 1024),
            max_spill_bytes=0 if self.no_spills else None,
        )
        limited = {"budget": self.budget, "minutes": self.minutes, "patience_percent": self.patience}
        spend = config.effort(self.effort, device.name, settings.templates, **limited)
        beside = rivals.chosen(self.baseline, shapes.values(), device.name)
        robust = self.score == "robust"
        if robust and len(shapes) == 1:
            raise UsageError(
                f"--score robust is one kernel for several shapes, not for {next(iter(shapes))} alone; add a shape"
            )
        tasks = [shapes] if robust else [{name: problem} for name, problem in shapes.items()]
        chosen = self._families(tasks, device, settings, say)
        if self.sanitize:
            _require_compiled(chosen, settings)
        plans = [
            Plan.make(
                each,
                device,
                spend,
                settings,
                effort_name=self.effort,
                families=own,
                strategy=self.strategy,
                seed=self.seed + number,  # otherwise all shapes would try the same genomes first
                limits=limits,
                warm=self._warm(each, device, settings, say),
                reuse=self.warm_start != "none",
                sanitize=self.sanitize,
                rivals=beside,
                devices=self.devices or ALL,
                finals_on=self.finals_on,
                device_count=len(taken),
            )
            for number, (each, own) in enumerate(zip(tasks, chosen, strict=True))
        ]
        return PreparedSearch(plans, taken, settings)

    def _devices(self, settings: Settings, say: Say) -> list[Target]:
        """The devices to search on, all alike."""
        if settings.target == "auto":
            missing = targets.why_not_cuda()
            if missing:
                say(f"searching CPU kernels: {missing.split(';')[0]}")
        found, words = targets.detect_all(settings.target, self.devices or ALL, settings.arch, settings.debug)
        if words:
            say(words + place_of_finals(found, self.finals_on))
        return found

    def by_device_kind(self) -> list[SearchRequest]:
        """A request for each kind of GPU that this machine has, for all of that kind that are idle.

        Raises:
            UsageError: where devices are named beside.
            MissingError: where there is no GPU.
        """
        if self.devices not in (None, ALL):
            raise UsageError("--each-device-kind takes all devices; leave --devices out")
        found = []
        for alike in kinds(settled()):
            idle = [each for each in alike if not each.company] or alike[:1]
            found.append(replace(self, devices="".join(f"{each.number}," for each in idle)))
        return found

    def _refuse_what_is_for_cuda(self) -> None:
        for name in CUDA_ONLY:
            if getattr(self, name) not in (None, False):
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"{option} means nothing for CPU kernels, which are searched here; leave it out")

    def _families(
        self, tasks: Sequence[Mapping[str, Problem]], device: Target, settings: Settings, say: Say
    ) -> list[tuple[str, ...]]:
        """The families of each task.

        Raises:
            SpaceError: for a shape that no family supports, or a requested family that supports none of the shapes.
        """
        wanted = tuple(self.family)
        chosen = []
        for shapes in tasks:
            every = len(tasks) == 1
            chosen.append(
                choose_families(list(shapes.values()), device, wanted, settings.templates, need_all=every, say=say)
            )
        idle = [name for name in wanted if not any(name in own for own in chosen)]
        if idle:
            raise SpaceError(f"family {idle[0]} supports none of the shapes; leave it out, or choose another shape")
        return chosen

    def _warm(
        self, shapes: Mapping[str, Problem], device: Target, settings: Settings, say: Say
    ) -> tuple[warm_start.Known, ...]:
        """The genomes to start from; similarity is that of the first shape."""
        name, problem = next(iter(shapes.items()))
        wanted = self.warm_start
        if wanted not in ("auto", "none") and not is_run(wanted):
            raise UsageError(
                f"--warm-start takes auto, none or a run (its number, latest or best), not {wanted!r}; "
                "see `evoflash runs list`"
            )
        if wanted == "none":
            return ()
        try:
            store = RunStore.open(settings.db)
        except NotFoundError:  # the first run of a database
            if wanted == "auto":
                return ()
            raise
        with store:
            run = (
                warm_start.nearest(store, problem, device.device, device.name)
                if wanted == "auto"
                else RunWord.parse(wanted).find(store)
            )
            found = warm_start.best_of(store, run) if run is not None else ()
        if run is not None and found:
            say(f"{name}: starts from the best {len(found)} genomes of run {run.id} ({run.problem_label})")
        return found


def _require_compiled(chosen: Sequence[tuple[str, ...]], settings: Settings) -> None:
    """Raises UsageError for a family that a sanitizer cannot watch."""
    for name in dict.fromkeys(each for own in chosen for each in own):
        if load(name, settings.templates).language == "python":
            raise UsageError(
                f"--sanitize cannot watch the Python kernels of {name}; leave it out, or name others by --family"
            )
