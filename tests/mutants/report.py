"""Verifies the whole corpus, each kernel in a process of its own, and tells which gate refused what.

    python -m tests.mutants.report run --target cpu --out docs/results/verify-cpu.json
    python -m tests.mutants.report table docs/results/verify-cpu.json docs/results/verify-cuda.json

`run` prints a line a kernel and ends with 1 when one has another verdict than it should; `table` prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evoflash import problems, targets
from evoflash.entrants import Entrant, FixedEntrant
from evoflash.environment import environment
from evoflash.errors import MissingError
from evoflash.evaluation import Gate
from evoflash.evaluator import sanitizers
from evoflash.genome import Genome
from evoflash.problems import Problem
from evoflash.targets import Target
from evoflash.template import load_all
from evoflash.toolchain import Toolchain
from evoflash.verdict import Verdict
from evoflash.verification import Verification
from tests.mutants import corpus

RIGHT_SHAPES = ("b=1,h=4,kv=2,s=257,d=64", "b=1,h=2,s=300,d=128,dtype=bf16,causal")


@dataclass(frozen=True)
class Task:
    """One thing to verify; right kernels have no gates."""

    name: str
    base: str
    wrong: str
    gates: tuple[str, ...]
    verify: Callable[[Verification, bool], Verdict]


def tasks(target: Target, genomes: int) -> Iterator[Task]:
    """Right kernels of every family, then the mutants."""
    name = target.name
    for base in corpus.bases(name).values():
        yield _kernel(base.name, base.family, "", (), base.entrant(target), base.problem)
    for mutant in corpus.mutants(name):
        gates = tuple(mutant.gates)
        yield _kernel(mutant.name, mutant.base.name, mutant.wrong, gates, mutant.entrant(target), mutant.base.problem)
    problem = next(iter(corpus.bases(name).values())).problem
    for function in (corpus.RIGHT_FUNCTION, *corpus.functions()):
        yield _function(function, problem)
    for entrant in _right(target, genomes):
        yield _kernel(entrant.name, entrant.family, "", (), entrant, entrant.problem)


def _right(target: Target, genomes: int) -> Iterator[FixedEntrant]:
    """Random genomes of every family that runs on this target."""
    rng = random.Random(corpus.SEED)
    for family, template in sorted(load_all().items()):
        for shape in RIGHT_SHAPES:
            problem = problems.parse(shape)
            if template.manifest.target != target.name or template.refusals(problem, target.facts):
                continue
            space = template.space(problem, target.facts)
            for _ in range(genomes):
                genome: Genome = space.sample(rng)
                source = template.render(genome, problem, target.facts)
                yield FixedEntrant(
                    f"{family} {genome.digest[:8]}", family, family, target.name, source, dict(genome), problem
                )


def _kernel(name: str, base: str, wrong: str, gates: tuple[str, ...], entrant: Entrant, problem: Problem) -> Task:
    watched = not gates or Gate.SANITIZER in gates  # what only a sanitizer may see
    return Task(
        name,
        base,
        wrong,
        gates,
        lambda each, sanitize: each.kernel(entrant, problem, corpus.SEED, sanitize=sanitize and watched),
    )


def _function(function: corpus.Function, problem: Problem) -> Task:
    gates = tuple(function.gates)

    def verify(verification: Verification, _: bool) -> Verdict:
        return verification.function(function.path, problem, corpus.SEED)

    return Task(function.name, "Python", function.wrong, gates, verify)


def run(arguments: argparse.Namespace) -> int:
    """Verifies everything; the number of verdicts that are not as they should be, at most 1."""
    target = targets.detect(arguments.target)
    if arguments.sanitize:
        try:
            sanitizers.require(target)
        except MissingError as error:
            print(f"without sanitizers: {error}", flush=True)
            arguments.sanitize = False
    start, guard = time.monotonic(), threading.Lock()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        toolchain = Toolchain(target, Path(folder), deadline_s=120)

        def work(task: Task) -> None:
            row = {"name": task.name, "base": task.base, "wrong": task.wrong, "wanted": list(task.gates)}
            if time.monotonic() - start > 60 * arguments.minutes:
                row |= {"gate": None, "ok": False, "reason": "not run: no time was left"}
            else:
                with Verification(target, toolchain, deadline_s=arguments.deadline) as verification:
                    row |= _told(task, task.verify(verification, arguments.sanitize))
            with guard:
                rows.append(row)
                _say(row)
                _save(arguments.out, target, start, rows)

        wanted = [task for task in tasks(target, arguments.genomes) if arguments.only in task.name]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(work, wanted))
    failed = [row["name"] for row in rows if not row["ok"]]
    caught = sum(row["ok"] for row in rows if row["wanted"])
    mutants = sum(bool(row["wanted"]) for row in rows)
    print(f"{caught} of {mutants} mutants refused as they should; {len(rows) - mutants} right kernels; ", end="")
    print(f"{time.monotonic() - start:.0f} s; not as they should: {', '.join(failed) or 'none'}")
    return int(bool(failed))


def _told(task: Task, verdict: Verdict) -> dict[str, Any]:
    last, worst = verdict.checks[-1], verdict.worst
    accuracy = last.accuracy
    return {
        "gate": verdict.gate,
        "ok": verdict.gate in task.gates if task.gates else verdict.accepted,
        "reason": verdict.reason,
        "case": last.case if not verdict.accepted else None,
        "cases": sum(each.outcome == "passed" for each in verdict.checks),
        "declined": sum(each.outcome == "declined" for each in verdict.checks),
        "error": accuracy.max_error if accuracy is not None else None,
        "allowed": accuracy.max_bound if accuracy is not None else None,
        "sdpa": accuracy.sdpa_max_error if accuracy is not None else None,
        "share": worst.share if worst is not None else None,
        "share_case": worst.case if worst is not None else None,
        "seconds": round(verdict.seconds, 2),
    }


def _say(row: dict[str, Any]) -> None:
    share = f"{row['share']:.3g}" if row.get("share") is not None else "-"
    verdict = f"{row['gate'] or 'accepted'}, wanted {'|'.join(row['wanted']) or 'accepted'}"
    name, seconds = f"{row['name']} ({row['base']})", row.get("seconds", 0)
    mark = "ok " if row["ok"] else "BAD"
    print(f"{mark} {name:46} {verdict:50} share {share:8} {seconds:6.1f} s  {row['reason'][:100]}", flush=True)


def _save(out: Path | None, target: Target, start: float, rows: list[dict[str, Any]]) -> None:
    if out is None:
        return
    facts = environment(target, {}, ["python", "-m", "tests.mutants.report", *map(_short, sys.argv[1:])])
    document = {"environment": facts, "seconds": round(time.monotonic() - start, 1), "rows": rows}
    out.write_text(json.dumps(document, indent=1, default=str) + "\n", encoding="utf-8")


def _short(argument: str) -> str:
    """An argument without the folders of this machine."""
    return Path(argument).name if argument.startswith("/") else argument


def table(arguments: argparse.Namespace) -> int:
    """Markdown of one or several results."""
    for path in arguments.results:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = sorted(document["rows"], key=lambda row: (row["base"], row["name"]))
        print(f"## {document['environment']['device']}\n")
        right = [row for row in rows if not row["wanted"]]
        print("| right kernel | of | verdict | cases | declined | largest error / allowed | on |")
        print("|---|---|---|---|---|---|---|")
        for row in right:
            share = f"{row['share']:.2f}" if row.get("share") is not None else "-"
            verdict = "accepted" if row["ok"] else f"**{row['gate']}**: {row['reason']}"
            cells = (row["name"], row["base"], verdict, row.get("cases"), row.get("declined"), share, row["share_case"])
            print(f"| {' | '.join(str(cell) for cell in cells)} |")
        print("\n| mutant | of | what is wrong | refused by | on | error | allowed | times |")
        print("|---|---|---|---|---|---|---|---|")
        for row in (row for row in rows if row["wanted"]):
            figures = ("", "", "")
            if row.get("error") is not None and row["gate"] in ("error", "fresh", "timed", "stream"):
                ratio = max(row["error"] / row["allowed"], row["share"] or 0) if row["allowed"] else float("inf")
                figures = (f"{row['error']:.2e}", f"{row['allowed']:.2e}", f"{ratio:.3g}")
            gate = row["gate"] if row["ok"] else f"**{row['gate'] or 'nothing'}**, not {'|'.join(row['wanted'])}"
            cells = (row["name"], row["base"], row["wrong"], gate, row["case"] or "", *figures)
            print(f"| {' | '.join(str(cell) for cell in cells)} |")
        print()
    return 0


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    verify = commands.add_parser("run", help="verify the corpus")
    verify.add_argument("--target", choices=("cpu", "cuda"), required=True)
    verify.add_argument("--out", type=Path, help="JSON file, written after each kernel")
    verify.add_argument("--jobs", type=int, default=1, help="kernels at a time")
    verify.add_argument("--genomes", type=int, default=1, help="random right kernels of each family and shape")
    verify.add_argument("--deadline", type=float, default=60.0, help="seconds that a case may take")
    verify.add_argument("--minutes", type=float, default=60.0, help="begin nothing after this long")
    verify.add_argument("--sanitize", action="store_true", help="run sanitizers where they are wanted")
    verify.add_argument("--only", default="", help="kernels whose name holds this text")
    verify.set_defaults(command=run)
    shown = commands.add_parser("table", help="print results as Markdown")
    shown.add_argument("results", type=Path, nargs="+")
    shown.set_defaults(command=table)
    arguments = parser.parse_args()
    return arguments.command(arguments)


if __name__ == "__main__":
    sys.exit(main())
