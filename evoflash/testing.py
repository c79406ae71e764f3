"""Conformance suites for plug-ins. Each is a function that raises an AssertionError saying what is wrong.

from evoflash.testing import check_problem, check_proposer

def test_my_proposer():
    check_proposer(MyProposer)

def test_my_problem():
    check_problem(MyProblem(rows=128, columns=64))
"""

from __future__ import annotations

import ctypes
import json
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from evoflash.core.archive import Archive, Member
from evoflash.core.candidate import Proposal
from evoflash.core.evaluation import Evaluation, Timing
from evoflash.core.genome import Genome
from evoflash.core.status import Stage, Status
from evoflash.problems import Inputs, Output, Outputs, Problem
from evoflash.proposers.base import Proposer, Spaces
from evoflash.space.declaration import Declaration
from evoflash.space.search_space import SearchSpace

if TYPE_CHECKING:
    import torch

Objective = Callable[[str, Genome], Evaluation]

WINDOW = 5  # proposals in flight, as in a search with several builders
DISAGREEMENT = 0.03  # relative to the rms of the reference; the error of an 8-bit mantissa is a tenth of that


def check_proposer(factory: Callable[[Spaces, int], Proposer], budget: int = 60) -> None:
    """Checks a strategy: valid and new proposals, known parents, determinism, and an end once every genome is proposed.

    Args:
        factory: makes a proposer from the spaces, by family, and a seed; usually the class itself.
        budget: proposals of each trial.

    Raises:
        AssertionError: saying which requirement is violated.
    """
    for spaces in (_spaces("rich"), _spaces("rich", "poor"), _spaces("rich", "other", "poor")):
        for objective in (_landscape, _all_fail):
            first = _trial(factory, spaces, objective, seed=3, budget=budget)
            random.seed(len(first))  # exposes a strategy that draws from the global generator
            second = _trial(factory, spaces, objective, seed=3, budget=budget)
            for number, (one, other) in enumerate(zip(first, second, strict=False)):
                _expect(one == other, f"the same seed and results gave {one} and then {other} as proposal {number}")
            _expect(
                len(first) == len(second), f"the same seed and results gave {len(first)}, then {len(second)} proposals"
            )
            size = sum(sum(1 for _ in space.genomes()) for space in spaces.values())
            _expect(
                len(first) == min(budget, size),
                f"it stopped after {len(first)} of {size} genomes, with a budget of {budget}",
            )
    _check_end(factory)


def check_problem(problem: Problem, device: str = "cpu") -> None:
    """Checks a problem: plain data, reproducible inputs, a float64 reference, tolerances that PyTorch meets.

    Args:
        device: "cpu" or "cuda", where the tensors are allocated.

    Raises:
        AssertionError: saying which requirement is violated.
    """
    _check_data(problem)
    names = [case.name for case in problem.cases()]
    _expect(bool(names), "cases() must give at least one case")
    _expect(len(set(names)) == len(names), f"two cases have one name: {sorted(names)}")
    for case in problem.cases():
        _expect(
            isinstance(case.problem, type(problem)), f"case {case.name}: its problem is a {type(case.problem).__name__}"
        )
        _check_data(case.problem)
        inputs = case.problem.inputs(case.seed, case.variant, device)
        outputs = tuple(each.empty(device) for each in case.problem.outputs())
        _check_arguments(case.problem, inputs, outputs)
    _check_inputs(problem, device)
    _check_answers(problem, device)
    _check_mirror(problem, device)


# A proposer.


def _spaces(*families: str) -> dict[str, SearchSpace]:
    """Synthetic spaces: a large one with constraints, another that shares some of its genes, and one of two genomes."""
    numbers = {"kind": "ordinal", "values": (1, 2, 4, 8, 16)}
    declared: dict[str, dict[str, Any]] = {
        "rich": {
            "parameters": {
                "rows": numbers,
                "stages": {"kind": "ordinal", "values": (1, 2, 3)},
                "layout": {"kind": "categorical", "values": ("a", "b", "c")},
                "fast": {"kind": "flag"},
                "fixed": {"kind": "ordinal", "values": (7,)},
            },
            "derived": {"bytes": "rows * stages"},
            "constraints": (
                {"expr": "bytes <= 24", "why": "it must fit"},
                {"expr": "fast or layout != 'c'", "why": "only the fast path knows c"},
            ),
        },
        "other": {
            "parameters": {
                "rows": numbers,
                "layout": {"kind": "categorical", "values": ("b", "d")},
                "fast": {"kind": "flag"},
            },
            "constraints": ({"expr": "rows > 2 or not fast", "why": "too little work"},),
        },
        "poor": {"parameters": {"fast": {"kind": "flag"}}},
    }
    return {
        family: SearchSpace(
            Declaration.model_validate({"family": family, **declared[family]}), [{"rows": 64}], {"cores": 2}
        )
        for family in families
    }


def _landscape(family: str, genome: Genome) -> Evaluation:
    """A time that depends on the genes; about one genome in six fails, and one in six is a duplicate."""
    digit = int(genome.digest[:2], 16) % 6
    if digit == 0:
        return Evaluation(status=Status.WRONG, stage=Stage.CORRECTNESS, reason="made to fail")
    time_us = 10.0 + 5 * (family == "other") + 20 * (not genome["fast"])
    time_us += abs(float(genome.get("rows", 1)) - 8)
    timing = Timing(regime="warm", p50_us=time_us, p90_us=time_us, p99_us=time_us, launches=1, samples=(time_us,))
    return Evaluation(status=Status.DUPLICATE if digit == 1 else Status.OK, stage=Stage.FULL, timings=(timing,))


def _all_fail(family: str, genome: Genome) -> Evaluation:
    return Evaluation(status=Status.BUILD_FAILED, stage=Stage.BUILD, reason="made to fail")


def _trial(
    factory: Callable[[Spaces, int], Proposer], spaces: Spaces, objective: Objective, seed: int, budget: int
) -> list[Proposal]:
    """The proposals within a budget, with several of them in flight, as in `Search`."""
    proposer, archive = factory(spaces, seed), Archive()
    proposals: list[Proposal] = []
    for _ in range(budget):
        proposal = proposer.ask(archive)
        if proposal is None:
            break
        _check_proposal(proposal, spaces, archive)
        proposals.append(proposal)
        archive.propose(proposal.family, proposal.genome)
        if len(proposals) - len(archive) == WINDOW:
            _tell(proposer, archive, proposals[len(archive)], objective)
    return proposals


def _tell(proposer: Proposer, archive: Archive, proposal: Proposal, objective: Objective) -> None:
    evaluation = objective(proposal.family, proposal.genome)
    proposer.tell(archive.add(proposal.numbered(len(archive)), evaluation))


def _check_proposal(proposal: Proposal, spaces: Spaces, archive: Archive) -> None:
    _expect(isinstance(proposal, Proposal), f"ask() must return a Proposal or None, not {proposal!r}")
    _expect(proposal.family in spaces, f"{proposal}: there is no family {proposal.family!r}")
    _expect(isinstance(proposal.genome, Genome), f"{proposal}: its genome is a {type(proposal.genome).__name__}")
    broken = spaces[proposal.family].violations(proposal.genome)
    _expect(not broken, f"{proposal} breaks {', '.join(each.expr for each in broken)}; see SearchSpace.repair")
    _expect(
        not archive.has(proposal.family, proposal.genome),
        f"{proposal} has been proposed before; see proposers.base.novel",
    )
    _expect(bool(proposal.operator), f"{proposal} has no operator")
    members: list[Member] = list(archive)
    for parent in proposal.parents:
        _expect(
            0 <= parent < len(members),
            f"{proposal}: parent {parent} has no result yet; only the first {len(members)} candidates have one",
        )


def _check_end(factory: Callable[[Spaces, int], Proposer]) -> None:
    """Expects every genome of a small space once, then None for every further call."""
    spaces = _spaces("poor", "other")
    wanted = {(family, genome.digest) for family, space in spaces.items() for genome in space.genomes()}
    proposer, archive = factory(spaces, 0), Archive()
    while (proposal := proposer.ask(archive)) is not None:
        _check_proposal(proposal, spaces, archive)
        wanted.discard((proposal.family, proposal.genome.digest))
        archive.propose(proposal.family, proposal.genome)
        _tell(proposer, archive, proposal, _landscape)
    _expect(not wanted, f"it ended with {len(wanted)} genomes untried; see proposers.base.novel")
    _expect(proposer.ask(archive) is None, "ask() returned None and then another proposal")


# A problem.


def _check_data(problem: Problem) -> None:
    _expect(isinstance(problem.kind, str) and bool(problem.kind), "kind must be a name")
    again = type(problem)(**json.loads(json.dumps(problem.model_dump(mode="json"))))
    _expect(again == problem and hash(again) == hash(problem), f"{problem!r} comes back from JSON as {again!r}")
    _expect(bool(problem.label), "label must not be empty")
    names = [each.name for each in problem.outputs()]
    _expect(bool(names), "outputs() must give at least one output")
    _expect(len(set(names)) == len(names) and all(map(str.isidentifier, names)), f"outputs have the names {names}")
    _expect(not {"workspace", "inputs"} & set(names), f"outputs have the names {names}; messages have others of these")
    for name, fact in problem.facts().items():
        plain = isinstance(fact, bool | int | float | str)
        _expect(name.isidentifier() and plain, f"fact {name!r} is {fact!r}; names must be identifiers, values scalars")
    for name, figure in (("flops", problem.flops), ("min_bytes", problem.min_bytes)):
        _expect(isinstance(figure, int) and figure > 0, f"{name} is {figure!r}; it must be a positive integer")


def _check_inputs(problem: Problem, device: str) -> None:
    import torch

    first, again, other = (problem.inputs(seed, "normal", device) for seed in (0, 0, 1))
    same = all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    _expect(same, "inputs(seed) must return the same values each time")
    differ = any(not torch.equal(one, two) for one, two in zip(first, other, strict=True))
    _expect(differ, "inputs of different seeds are equal")
    for number, tensor in enumerate(first):
        _expect(tensor.device.type == device, f"input {number} is on {tensor.device}, not on {device}")
        _expect(
            bool(tensor.double().isfinite().all().item()), f"input {number} of the normal variant contains NaN or Inf"
        )


def _check_answers(problem: Problem, device: str) -> None:
    import torch

    inputs = problem.inputs(0, "normal", device)
    before = [tensor.clone() for tensor in inputs]
    reference, wanted = problem.reference(inputs), problem.outputs()
    count = len(wanted)
    _expect(isinstance(reference, tuple) and len(reference) == count, f"reference() must return a tuple of {count}")
    for each, output in zip(reference, wanted, strict=True):
        where = f"the reference of {output.name}"
        _expect(each.dtype == torch.float64, f"{where} is {each.dtype}; it must be computed in float64")
        _expect(tuple(each.shape) == output.shape, f"{where} has the shape {tuple(each.shape)}")
    answers: Iterator[tuple[str, Any]] = iter([("plain", problem.plain), *problem.baselines(device).items()])
    worked = 0
    for name, function in answers:
        try:
            answer = function(inputs) if name == "plain" else function(*inputs)
        except RuntimeError:  # a backend that does not support this problem
            _expect(name != "plain", "plain() fails")
            continue
        worked += name != "plain"
        outputs = (answer,) if count == 1 and name != "plain" and not isinstance(answer, tuple) else answer
        _expect(isinstance(outputs, tuple) and len(outputs) == count, f"{name} must return a tuple of {count}")
        for out, output in zip(outputs, wanted, strict=True):
            words = f"{name} returns {output.name}"
            _expect(tuple(out.shape) == output.shape, f"{words} of the shape {tuple(out.shape)}")
            _expect(out.dtype == getattr(torch, output.dtype), f"{words} as {out.dtype}; it must be {output.dtype}")
            _expect(bool(out.isfinite().all().item()), f"{words} with NaN or Inf on normal inputs")
    _expect(worked > 0, f"no baseline for {device} works")
    for output, plain, values in zip(wanted, problem.plain(inputs), reference, strict=True):
        _check_bounds(problem, output, plain, values)
    unchanged = all(torch.equal(one, two) for one, two in zip(before, inputs, strict=True))
    _expect(unchanged, "the reference or a baseline overwrites the inputs")


def _check_mirror(problem: Problem, device: str) -> None:
    import torch

    inputs = problem.inputs(0, "normal", device)
    before = [tensor.clone() for tensor in inputs]
    plain = problem.plain(inputs)
    signs = problem.mirror(inputs)
    if not signs:
        return
    _expect(len(signs) == len(plain) and set(signs) <= {-1, 1} and -1 in signs, f"mirror() returns {signs}")
    for output, sign, one, other in zip(problem.outputs(), signs, plain, problem.plain(inputs), strict=True):
        # PyTorch's rounding may depend on the sign, by far less than a wrong sign would show.
        close = torch.allclose(one.double() * sign, other.double(), rtol=0.05, atol=0.05 * one.double().std().item())
        _expect(close, f"mirror() does not multiply {output.name} by {sign}")
    problem.mirror(inputs)
    restored = all(torch.equal(one, two) for one, two in zip(before, inputs, strict=True))
    _expect(restored, "mirror() twice does not restore the inputs")


def _check_bounds(problem: Problem, output: Output, plain: torch.Tensor, reference: torch.Tensor) -> None:
    error = (plain.double() - reference).abs()
    largest, rms, mean = error.max().item(), error.square().mean().sqrt().item(), error.mean().item()
    bounds = problem.bounds(output, reference, largest, rms)
    met = largest <= bounds.max_error and rms <= bounds.rms_error and mean <= bounds.mean_error
    _expect(met, f"the errors of plain() (max {largest:.3g}, rms {rms:.3g}, mean {mean:.3g}) are beyond {bounds}")
    scale = reference.square().mean().sqrt().item()
    _expect(
        rms < DISAGREEMENT * scale, f"plain() and reference() differ by {rms / scale:.1%}: do they compute the same?"
    )
    _expect(bounds.rms_error < scale, f"an output of zeros would pass: rms {scale:.3g} is within {bounds}")


def _check_arguments(problem: Problem, inputs: Inputs, outputs: Outputs) -> None:
    arguments = problem.arguments(inputs, outputs)
    fields = {name for name, *_ in arguments._fields_}
    is_complete = isinstance(arguments, ctypes.Structure) and "workspace" in fields
    _expect(is_complete, "arguments() must return a Structure with a field `workspace`")
    pointers = {getattr(arguments, name) for name, kind, *_ in arguments._fields_ if kind is ctypes.c_void_p}
    named = {f"input {number}": tensor for number, tensor in enumerate(inputs)}
    named |= {f"output {each.name}": tensor for each, tensor in zip(problem.outputs(), outputs, strict=True)}
    for where, tensor in named.items():
        _expect(tensor.data_ptr() in pointers, f"arguments() does not point to {where}")


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
