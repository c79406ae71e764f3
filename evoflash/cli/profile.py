"""`evoflash profile`: what bounds a kernel."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from evoflash import config, targets
from evoflash.api.shapes import device_of, one
from evoflash.api.words import CANDIDATE_HELP, CandidateWord
from evoflash.bench.entrants import Entrant, FixedEntrant
from evoflash.cli import options
from evoflash.cli.entrants import entrant_of, machine_of, names_candidate
from evoflash.cli.runs import AsJson, Database
from evoflash.codegen.toolchain import Toolchain
from evoflash.config import Settings
from evoflash.core.profile import Profile
from evoflash.core.record import Document
from evoflash.errors import StorageError
from evoflash.problems import Problem
from evoflash.profiling import Profiler
from evoflash.report.tables import print_document
from evoflash.store import RunStore


class ProfileDocument(Profile, Document):
    """What bounds a kernel.

    Attributes:
        kernel: its name, as bench and verify have it.
        origin: where it comes from.
        problem: what it was profiled on.
        candidate: its id, if it is one of a run.
    """

    kernel: str
    origin: str
    problem: str
    candidate: int | None


def profile(
    kernel: Annotated[
        str,
        typer.Argument(
            help=f"What to profile: a candidate ({CANDIDATE_HELP}), the folder of an exported package, FAMILY, or "
            'FAMILY:{"gene": value, ...}.'
        ),
    ],
    shape: options.Shape = None,
    problem: options.Problem = None,
    dtype: options.Dtype = None,
    seed: Annotated[int, typer.Option(help="Seed of a family's random genome.")] = 0,
    templates: options.Templates = None,
    db: Database = None,
    cache: options.Cache = None,
    verbose: options.Verbose = None,
    as_json: AsJson = False,
) -> None:
    """Say what bounds a kernel: its time beside a copy, a matrix product and an empty launch, and its counters.

    Counters are those of ncu on a GPU, of perf on a CPU; where they may not be read, it says why. The profile of a
    candidate is stored with it. Without --shape and --problem, candidates and exports are profiled on what they were
    searched for.
    """
    settings = config.load(templates=templates, db=db, cache=cache, verbose=verbose)
    entrant = entrant_of(kernel, settings, seed)
    is_own = shape is None and problem is None and dtype is None and isinstance(entrant, FixedEntrant)
    asked = _problem(entrant, problem, shape, dtype, settings)
    device = targets.detect(entrant.target, machine=machine_of([entrant]))
    toolchain = Toolchain(device, settings.cache, settings.build_deadline_s, settings.verbose)
    toolchain.require_writable()
    with Profiler(device, toolchain, _say) as profiler:
        found = profiler.profile(entrant, asked)
    candidate = _candidate(kernel, settings) if names_candidate(kernel) else None
    if as_json:
        head = {"kernel": entrant.name, "origin": entrant.origin, "problem": asked.label, "candidate": candidate}
        print_document(ProfileDocument(**found.model_dump(), **head))
    else:
        print(f"{entrant.name}, {entrant.family}, {asked.label} on {device.device}")
        for sentence in found.words:
            print(f"  {sentence}")
    if candidate is not None and is_own:
        _store(candidate, found, settings)


def _problem(
    entrant: Entrant, problem: str | None, shape: str | None, dtype: str | None, settings: Settings
) -> Problem:
    """What was asked for, or what the kernel was searched for."""
    if isinstance(entrant, FixedEntrant) and problem is None and shape is None and dtype is None:
        return entrant.problem
    return one(problem, shape, dtype, settings, device_of(entrant.target))


def _candidate(text: str, settings: Settings) -> int:
    with RunStore.open(settings.db) as store:
        return CandidateWord.parse(text).find(store)


def _store(candidate: int, found: Profile, settings: Settings) -> None:
    """Stores the profile with its candidate, unless a search has the database."""
    try:
        with RunStore.open(settings.db, write=True) as store:
            store.record_profile(candidate, found)
    except StorageError as error:
        _say(f"the profile is not stored: {error}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
