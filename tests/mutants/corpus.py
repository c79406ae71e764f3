"""The adversarial corpus: right kernels with one mistake each, and the gate that must refuse it.

A mutant is a few lines of cpu.yaml or cuda.yaml: what is wrong, and which text of a rendered kernel becomes what.
Those of functions stand in files of their own, which name the problem; there a base says which target it is for. Some
are Python functions (functions.py). `python -m tests.mutants.report run` verifies all of them.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from evoflash.bench.entrants import FixedEntrant
from evoflash.codegen.source import Source
from evoflash.codegen.template import load
from evoflash.core.genome import Genome
from evoflash.core.status import Gate
from evoflash.problems import Problem, attention
from evoflash.problems.function.description import describe
from evoflash.problems.sizes import fields_of
from evoflash.targets import Target

FOLDER = Path(__file__).parent
PROBLEMS = ("rms_norm", "cross_entropy", "fused_linear")  # that are functions, with a file each here and in problems/
FUNCTIONS = "tests.mutants.functions"
FIRST_CASE = "tiny seed 0"
SEED = 7  # of the cases that a kernel cannot know

TargetName = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Base:
    """A right kernel: a genome of a family, rendered for a shape."""

    name: str
    family: str
    shape: str
    genome: dict[str, Any]
    dtype: str | None = None
    function: str | None = None

    @property
    def problem(self) -> Problem:
        if self.function is not None:
            return _described(self.function, self.shape)
        return attention.parse(self.shape, self.dtype)

    def refusals(self, target: Target) -> list[str]:
        """Why a target does not run this family, as `cpu_amx` without its tiles; none where it does."""
        return load(self.family).refusals(self.problem, target.facts)

    def source(self, target: Target) -> Source:
        template, genome = load(self.family), Genome(self.genome)
        broken = template.space([self.problem], target.facts).violations(genome)
        assert not broken, f"base {self.name}: {broken}"
        return template.render(genome, self.problem, target.facts)

    def entrant(self, target: Target) -> FixedEntrant:
        return _entrant(self.name, self, target, self.source(target))


@dataclass(frozen=True)
class Mutant:
    """A base with one mistake.

    Attributes:
        gates: what must refuse it; one of several where that is a matter of chance.
        case: on which it shows first, `verification.TIMED` for the timing.
        patches: (old text, new text); each old text stands once in what the earlier ones have left.
    """

    name: str
    wrong: str
    gates: tuple[Gate, ...]
    case: str
    base: Base
    patches: tuple[tuple[str, str], ...]

    def source(self, right: Source) -> Source:
        """The base's source with the mistake."""
        text = right.text
        for old, new in self.patches:
            assert text.count(old) == 1, f"{self.name}: {old!r} stands {text.count(old)} times in {self.base.name}"
            text = text.replace(old, new)
        return Source(text, right.language, right.shared_bytes)

    def entrant(self, target: Target) -> FixedEntrant:
        return _entrant(self.name, self.base, target, self.source(self.base.source(target)))


@dataclass(frozen=True)
class Function:
    """A wrong Python function, by "module:function"."""

    name: str
    wrong: str
    gates: tuple[Gate, ...]
    case: str

    @property
    def path(self) -> str:
        return f"{FUNCTIONS}:{self.name}"


RIGHT_FUNCTION = Function("right", "", (), FIRST_CASE)


def bases(target: TargetName) -> dict[str, Base]:
    return {name: Base(name=name, **fields) for name, fields in _read(target)["bases"].items()}


def mutants(target: TargetName) -> list[Mutant]:
    """Without a base of their own they are of the file's first one."""
    known = bases(target)
    first = next(iter(known))
    return [
        Mutant(
            name=name,
            wrong=fields["wrong"],
            gates=_gates(fields),
            case=fields.get("case", FIRST_CASE),
            base=known[fields.get("base", first)],
            patches=tuple((old, new) for old, new in fields["patches"]),
        )
        for name, fields in _read(target)["mutants"].items()
    ]


def functions() -> list[Function]:
    found = _read("cpu")["functions"]
    return [
        Function(name, fields["wrong"], _gates(fields), fields.get("case", FIRST_CASE))
        for name, fields in found.items()
    ]


def _gates(fields: dict[str, Any]) -> tuple[Gate, ...]:
    return tuple(Gate(gate) for gate in fields["gate"].split("|"))


def _entrant(name: str, base: Base, target: Target, source: Source) -> FixedEntrant:
    return FixedEntrant(name, f"mutant {name}", base.family, target.name, source, base.genome, base.problem)


@functools.cache
def _read(target: TargetName) -> dict[str, Any]:
    """The file of a target, and what the files of functions have for it."""
    found = copy.deepcopy(_content(target))
    for function in PROBLEMS:
        content = _content(function)
        bases = {name: dict(fields) for name, fields in content["bases"].items() if fields["target"] == target}
        for fields in bases.values():
            del fields["target"]
        found["bases"] |= {name: {**fields, "function": function} for name, fields in bases.items()}
        own = {name: fields for name, fields in content["mutants"].items() if fields["base"] in bases}
        assert not own.keys() & found["mutants"].keys()
        found["mutants"] |= {name: {"case": content["case"], **fields} for name, fields in own.items()}
    return found


@functools.cache
def _content(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


@functools.cache
def _described(function: str, shape: str) -> Problem:
    file = FOLDER.parent.parent / "problems" / f"{function}.py"
    return describe(file.name, file.read_text(encoding="utf-8"), next(iter(fields_of([shape]).values())), "cpu")
