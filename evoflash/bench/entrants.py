"""Entrants: the kernels of a bench, however a person named them, each able to give its source for a shape."""

from __future__ import annotations

import errno
import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from evoflash.codegen.amalgamation import self_contained
from evoflash.codegen.source import Source
from evoflash.codegen.template import Template, load
from evoflash.core.genome import Genome
from evoflash.errors import EvoflashError, NotFoundError, SpaceError, UsageError
from evoflash.plugins import problem_from_dict
from evoflash.problems import Problem
from evoflash.store import RunStore
from evoflash.targets import Target

PROVENANCE = "provenance.json"  # by which an exported package is known


@dataclass(frozen=True)
class Kernel:
    """A source for one shape, and what it was rendered with."""

    source: Source
    genome: dict[str, Any]
    note: str = ""


class Entrant(Protocol):
    """One kernel of a bench."""

    @property
    def name(self) -> str:
        """How tables call it."""
        ...

    @property
    def origin(self) -> str:
        """What the person named."""
        ...

    @property
    def family(self) -> str:
        """The template that it was rendered from."""
        ...

    @property
    def target(self) -> str:
        """ "cuda" or "cpu"."""
        ...

    def kernel(self, problem: Problem, target: Target) -> Kernel | str:
        """The kernel for a problem, or why it declines."""
        ...


@dataclass(frozen=True)
class FixedEntrant:
    """A source as it was found, whatever the shape; it declines what it was not made for by an error code.

    Attributes:
        problem: what it was made for. Another dtype is declined here, as not every kernel looks at those of tensors.
        machine: what is on record of the run that found it, if that is known.
    """

    name: str
    origin: str
    family: str
    target: str
    source: Source
    genome: dict[str, Any]
    problem: Problem
    note: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)

    def kernel(self, problem: Problem, target: Target) -> Kernel | str:
        """The same source for every problem of its kind and dtype."""
        if problem.computes != self.problem.computes:
            return f"it computes {self.problem.computes}"
        own, asked = self.problem.facts().get("dtype"), problem.facts().get("dtype")
        if own != asked:
            return f"it was rendered for {own}"
        if self.source.language != "python" and self.source.interface != problem.c_interface.signature:
            return f"it was rendered for another {problem.c_interface.header} than this evoflash has; render it again"
        return Kernel(self._with_shared_bytes(problem, target), self.genome, self.note)

    def _with_shared_bytes(self, problem: Problem, target: Target) -> Source:
        """With the dynamic shared memory by the family's formula, where the family still knows the genome."""
        try:
            derived = load(self.family).space([self.problem], target.facts).derived(self.genome)
        except EvoflashError:
            return self.source
        shared = derived.get("shared_bytes")
        return Source(self.source.text, self.source.language, None if shared is None else int(shared))


@dataclass(frozen=True)
class FamilyEntrant:
    """A template rendered anew for each shape.

    Attributes:
        genome: None for the family's first known-good genome that is valid for a shape, else a random one by `seed`.
    """

    name: str
    origin: str
    template: Template
    genome: Genome | None
    seed: int

    @property
    def family(self) -> str:
        """The template's."""
        return self.template.family

    @property
    def target(self) -> str:
        """The template's."""
        return self.template.manifest.target

    def kernel(self, problem: Problem, target: Target) -> Kernel | str:
        """Rendered for the problem."""
        refusals = self.template.refusals(problem, target.facts)
        if refusals:
            return "; ".join(refusals)
        space = self.template.space([problem], target.facts)
        if self.genome is not None:
            genome, note = self.genome, ""
            broken = space.violations(genome)
            if broken:
                return "the genome is not valid here: " + "; ".join(f"{each.expr} ({each.why})" for each in broken)
        else:
            known = (Genome(each.genome) for each in space.seeds)
            valid = next((genome for genome in known if not space.violations(genome)), None)
            try:
                genome = valid or space.sample(random.Random(self.seed))
            except SpaceError as error:
                return str(error).splitlines()[0]
            note = "first known-good genome" if valid else f"random genome of seed {self.seed}"
        return Kernel(self.template.render(genome, problem, target.facts), dict(genome), note)


def of_candidate(store: RunStore, candidate: int, origin: str) -> FixedEntrant:
    """A stored candidate.

    Raises:
        NotFoundError: when there is none with this id, or it has no source.
    """
    stored = store.candidate(candidate)
    if stored.source is None:
        raise NotFoundError(f"candidate {candidate} has no source; `evoflash show {candidate}` tells why it failed")
    run = store.run(stored.run_id)
    return FixedEntrant(
        name=f"candidate {candidate}",
        origin=origin,
        family=stored.candidate.family,
        target=run.target,
        source=Source(stored.source, "python" if stored.language == "python" else _language(run.target)),
        genome=dict(stored.candidate.genome),
        problem=problem_from_dict(run.problem),
        machine=run.machine,
    )


def package_folder(path: Path) -> Path | None:
    """The folder of an export's kernel: `path` itself or the one package in it; None when it is no export."""
    try:
        if (path / PROVENANCE).is_file():
            return path
        inside = sorted(path.glob(f"*/{PROVENANCE}")) if path.is_dir() else []
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return None  # a family with a genome is longer than a file's name may be
    return inside[0].parent if len(inside) == 1 else None


def of_package(path: Path) -> FixedEntrant:
    """The kernel of an exported package.

    Raises:
        NotFoundError: when the folder is no export.
        UsageError: when its provenance or source cannot be read.
    """
    folder = package_folder(path)
    if folder is None:
        raise NotFoundError(f"{path} is no exported package: it has no {PROVENANCE}; make one by `evoflash export`")
    try:
        record = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        text = (folder / record["source"]).read_text(encoding="utf-8")
        edited = hashlib.sha256(text.encode()).hexdigest() != record["source_sha256"]
        return FixedEntrant(
            name=record["name"],
            origin=str(path),
            family=record["family"],
            target=record["target"],
            source=Source(text, "python" if record["source"].endswith(".py") else _language(record["target"])),
            genome=record["genome"],
            problem=problem_from_dict(record["problem"]),
            note="edited since it was exported" if edited else "",
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder / PROVENANCE} is not what `evoflash export` writes ({error!r}); export it again"
        ) from None


def of_source(path: Path, problem: Problem) -> FixedEntrant:
    """A source file with a launcher in it: kernel.cu or kernel.cpp, for the problem that it is for.

    Raises:
        UsageError: when it, or a header that it includes, cannot be read.
    """
    text = self_contained(path, problem)
    target: Literal["cuda", "cpu"] = "cuda" if path.suffix == ".cu" else "cpu"
    source = Source(text, _language(target))
    return FixedEntrant(path.stem, str(path), path.stem, target, source, {}, problem)


def of_family(text: str, seed: int, templates: tuple[Path, ...]) -> FamilyEntrant:
    """FAMILY or FAMILY:{"gene": value, …}.

    Raises:
        NotFoundError: for a family that does not exist.
        UsageError: for a genome that is no JSON object.
    """
    family, colon, genes = text.partition(":")
    template = load(family, templates)
    if not colon:
        return FamilyEntrant(family, text, template, None, seed)
    try:
        values = json.loads(genes)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"the genome of {family} is not JSON ({error}); write it like --kernel '{family}:{{\"rows\": 64}}'"
        ) from None
    if not isinstance(values, dict):
        raise UsageError(
            f'the genome of {family} must be a JSON object of names and values; write FAMILY:{{"rows": 64}}'
        )
    genome = Genome(values)
    return FamilyEntrant(f"{family} {genome.digest[:8]}", text, template, genome, seed)


def _language(target: str) -> Literal["cuda", "c++"]:
    return "cuda" if target == "cuda" else "c++"
