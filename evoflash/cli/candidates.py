"""`evoflash lineage`, `show` and `diff`: a candidate's ancestors, its details, and the difference between two."""

import sys
from typing import Annotated

import typer

from evoflash.cli.runs import AsJson, Database, reading
from evoflash.cli.words import Candidate
from evoflash.core.finals import Final
from evoflash.errors import NotFoundError, UsageError
from evoflash.report import candidates as report
from evoflash.report import lineage as tree
from evoflash.report.tables import print_json, print_sheets
from evoflash.store import RunStore, StoredCandidate


def lineage(candidate: Candidate, db: Database = None, as_json: AsJson = False) -> None:
    """Show the ancestors of a candidate as a tree, with what each step changed and gained."""
    with reading(db) as store:
        ancestry = store.ancestry(candidate.find(store))
    if as_json:
        tree.print_document(ancestry)
    else:
        tree.print_tree(ancestry)


def show(
    candidate: Candidate,
    source: Annotated[bool, typer.Option("--source", help="Print only the source.")] = False,
    log: Annotated[bool, typer.Option("--log", help="Print only the compiler's log.")] = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Show a candidate: genome, result, compiler report, accuracy and times; or its source, or its compiler log."""
    if source + log + as_json > 1:
        raise UsageError("--source, --log and --json exclude each other; choose one")
    with reading(db) as store:
        stored = store.candidate(candidate.find(store))
        final = _final(store, stored)
    if source:
        sys.stdout.write(_source(stored))
    elif log:
        sys.stdout.write(stored.evaluation.build.log if stored.evaluation.build is not None else "")
    elif as_json:
        print_json(report.candidate_document(stored, final))
    else:
        print_sheets(*report.candidate_sheets(stored, final))


def diff(
    a: Candidate,
    b: Candidate,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Show the differences between two candidates: genome, source, speed."""
    with reading(db) as store:
        old, new = store.candidate(a.find(store)), store.candidate(b.find(store))
    if as_json:
        print_json(report.diff_document(old, new))
        return
    print_sheets(report.genes_sheet(old, new))
    print(report.source_diff(old, new) or "the sources are equal")
    print(f"\n{report.speed_line(old, new)}")


def _final(store: RunStore, stored: StoredCandidate) -> Final | None:
    finals = store.finals(stored.run_id)
    finalists = finals.finalists if finals is not None else ()
    return next((final for final in finalists if final.index == stored.candidate.index), None)


def _source(stored: StoredCandidate) -> str:
    if stored.source is None:
        raise NotFoundError(f"candidate {stored.id} has no source; `evoflash show {stored.id}` shows why it failed")
    return stored.source
