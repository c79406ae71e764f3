"""`evoflash lineage`, `show` and `diff`: a candidate's ancestors, its details, and the difference between two."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from evoflash.cli import options
from evoflash.cli.runs import AsJson, Database, reading
from evoflash.cli.words import Candidate
from evoflash.core.finals import Final
from evoflash.errors import NotFoundError, UsageError
from evoflash.report import candidates as report
from evoflash.report import lineage as lineages
from evoflash.report import lineage_drawings as drawings
from evoflash.report.tables import print_document, print_sheets
from evoflash.store import RunStore, StoredCandidate


class Form(StrEnum):
    """How a lineage is printed."""

    TREE = "tree"
    DOT = "dot"
    MERMAID = "mermaid"
    JSON = "json"


def lineage(
    context: typer.Context,
    candidate: Candidate,
    form: Annotated[
        Form, typer.Option("--format", help="tree; dot for Graphviz; mermaid for Markdown pages; or json.")
    ] = Form.TREE,
    full: Annotated[
        bool, typer.Option("--full", help="The candidate's whole run, from first ancestors to descendants.")
    ] = False,
    limit: Annotated[
        int,
        typer.Option(
            min=1, help="With --full: the most candidates to print; the fastest go first, each with its ancestors."
        ),
    ] = 200,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Show the ancestors of a candidate, or the lineage of its whole run, with what each step changed and gained."""
    if as_json and form not in (Form.TREE, Form.JSON):
        raise UsageError(f"--json and --format {form.value} exclude each other; choose one")
    if not full:
        options.refuse(context, ("limit",), "without --full")
    with reading(db) as store:
        if full:
            run = store.candidate(candidate.id).run_id if candidate.id is not None else candidate.run.find(store).id
            found = lineages.of_run(run, store.relatives(run), limit)
        else:
            found = lineages.of_candidate(store.ancestry(candidate.find(store)))
    if as_json or form is Form.JSON:
        print_document(found)
    elif form is Form.TREE:
        drawings.print_tree(found, full=full)
    else:
        print(drawings.dot(found) if form is Form.DOT else drawings.mermaid(found))
    if found.left_out:
        print(
            f"{found.left_out} of {found.left_out + len(found.candidates)} candidates are left out; --limit shows more",
            file=sys.stderr,
        )


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
        print_document(report.candidate_document(stored, final))
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
        print_document(report.diff_document(old, new))
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
