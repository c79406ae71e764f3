"""Verifies the whole corpus and tells which gate refused what; after a mutant that may leave traces, in a new process.

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
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evoflash import targets
from evoflash.bench.entrants import FixedEntrant
from evoflash.codegen.template import load_all
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.genome import Genome
from evoflash.core.status import Gate
from evoflash.errors import MissingError
from evoflash.evaluator import sanitizers
from evoflash.problems import Problem, attention
from evoflash.targets import Target
from evoflash.targets.environment import environment
from evoflash.verify.verdict import Verdict
from evoflash.verify.verification import Verification
from tests.mutants import corpus

RIGHT_SHAPES = ("b=1,h=4,kv=2,s=257,d=64", "b=1,h=2,s=300,d=128,dtype=bf16,causal")


HARMLESS = {None, Gate.ERROR, Gate.NAN, Gate.UNWRITTEN, Gate.REPEAT, Gate.FRESH, Gate.FORM}  # whose memory stays usable


@dataclass(frozen=True)
class Task:
    """One thing to verify: a kernel for a problem, or a function; right ones have no gates."""

    name: str
    base: str
    wrong: str
    gates: tuple[Gate, ...]
    problem: Problem
    entrant: FixedEntrant | None = None
    function: str = ""

    @property
    def watched(self) -> bool:
        """Whether a sanitizer should see it: right kernels, and mistakes that only it may see."""
        return self.entrant is not None and (not self.gates or Gate.SANITIZER in self.gates)

    def verify(self, verification: Verification) -> Verdict:
        if self.entrant is None:
            return verification.function(self.function, self.problem, corpus.SEED)
        return verification.kernel(self.entrant, self.problem, corpus.SEED)


def tasks(target: Target, genomes: int) -> Iterator[Task]:
    """Right kernels of every family that runs on this target, the functions, the mutants."""
    bases = {name: base for name, base in corpus.bases(target.name).items() if not base.refusals(target)}
    for base in bases.values():
        yield Task(base.name, base.family, "", (), base.problem, base.entrant(target))
    for entrant in _right(target, genomes):
        yield Task(entrant.name, entrant.family, "", (), entrant.problem, entrant)
    problem = next(iter(bases.values())).problem
    for each in (corpus.RIGHT_FUNCTION, *corpus.functions()):
        yield Task(each.name, "Python", each.wrong, each.gates, problem, function=each.path)
    for each in (mutant for mutant in corpus.mutants(target.name) if mutant.base.name in bases):
        yield Task(each.name, each.base.name, each.wrong, each.gates, each.base.problem, each.entrant(target))


def _right(target: Target, genomes: int) -> Iterator[FixedEntrant]:
    """Random genomes of every family that runs on this target."""
    rng = random.Random(corpus.SEED)
    for family, template in sorted(load_all().items()):
        for shape in RIGHT_SHAPES:
            problem = attention.parse(shape)
            if template.manifest.target != target.name or template.refusals(problem, target.facts):
                continue
            space = template.space([problem], target.facts)
            for _ in range(genomes):
                genome: Genome = space.sample(rng)
                source = template.render(genome, problem, target.facts)
                yield FixedEntrant(
                    f"{family} {genome.digest[:8]}", family, family, target.name, source, dict(genome), problem
                )


class Run:
    """Verifies tasks: builds wide, kernels by a few workers that share what they know, sanitizers wide again."""

    def __init__(self, arguments: argparse.Namespace, target: Target, folder: Path):
        self.arguments = arguments
        self.target = target
        self.toolchain = Toolchain(target, folder, deadline_s=120)
        self.start = time.monotonic()
        self.rows: list[dict[str, Any]] = []
        self._guard = threading.Lock()
        self._own = threading.local()
        self._made: list[Verification] = []
        earlier = json.loads(arguments.again.read_text(encoding="utf-8"))["rows"] if arguments.again else []
        self._earlier = {row["name"]: row for row in earlier}

    def all(self) -> list[dict[str, Any]]:
        """Every row; with earlier results, what was not as it should be goes first."""
        every = list(tasks(self.target, self.arguments.genomes))
        wanted = [each for each in every if any(text in each.name for text in self.arguments.only)]
        wanted.sort(
            key=lambda each: self._is_known(each) and _is_as_it_should_be(each, self._earlier[each.name]["gate"])
        )
        for each in every:
            if self._is_known(each) and each not in wanted:
                self._keep(each)
        sources = [each.entrant.source for each in wanted if each.entrant is not None]
        with ThreadPoolExecutor(self.arguments.builders) as builders:
            list(builders.map(self.toolchain.build, sources))
        with ThreadPoolExecutor(self.arguments.jobs) as jobs, ThreadPoolExecutor(self.arguments.builders) as watchers:
            verdicts = [jobs.submit(self._verify, each) for each in wanted]
            list(watchers.map(self._finish, wanted, verdicts))
        for each in self._made:
            each.reset()
        return self.rows

    def _verify(self, task: Task) -> Verdict | None:
        """None when no time is left."""
        if time.monotonic() - self.start > 60 * self.arguments.minutes:
            return None
        if not hasattr(self._own, "verification"):
            self._own.verification = Verification(self.target, self.toolchain, deadline_s=self.arguments.deadline)
            self._made.append(self._own.verification)
        verdict = task.verify(self._own.verification)
        if verdict.gate not in HARMLESS:
            self._own.verification.reset()
        return verdict

    def _is_known(self, task: Task) -> bool:
        """Whether earlier results have its verdict."""
        return self._earlier.get(task.name, {}).get("seconds") is not None

    def _was_as_it_should_be(self, task: Task) -> bool:
        return self._is_known(task) and _is_as_it_should_be(task, self._earlier[task.name]["gate"])

    def _keep(self, task: Task) -> None:
        """Takes an earlier verdict over."""
        row = self._earlier[task.name]
        gates = [str(gate) for gate in task.gates]
        row |= {"earlier": True, "wanted": gates, "ok": _is_as_it_should_be(task, row["gate"])}
        with self._guard:
            self.rows.append(row)

    def _finish(self, task: Task, verified: Future[Verdict | None]) -> None:
        verdict = verified.result()
        gates = [str(gate) for gate in task.gates]
        row: dict[str, Any] = {"name": task.name, "base": task.base, "wrong": task.wrong, "wanted": gates}
        if verdict is None and self._is_known(task):
            self._keep(task)
            return
        if verdict is None:
            row |= {"gate": None, "ok": False, "reason": "not run: no time was left"}
        else:
            if verdict.accepted and task.watched and self.arguments.sanitize and task.entrant is not None:
                verdict = Verification(self.target, self.toolchain).sanitize(verdict, task.entrant, task.problem)
            row |= _told(task, verdict)
        with self._guard:
            self.rows.append(row)
            _say(row)
            _save(self.arguments.out, self.target, self.start, self.rows)


def run(arguments: argparse.Namespace) -> int:
    """Verifies everything; 1 when a verdict is not as it should be."""
    target = targets.detect(arguments.target)
    if arguments.sanitize:
        try:
            sanitizers.require(target)
        except MissingError as error:
            print(f"without sanitizers: {error}", flush=True)
            arguments.sanitize = False
    with tempfile.TemporaryDirectory() as folder:
        made = Run(arguments, target, Path(folder))
        rows = made.all()
    failed = [row["name"] for row in rows if not row["ok"]]
    caught = sum(row["ok"] for row in rows if row["wanted"])
    mutants = sum(bool(row["wanted"]) for row in rows)
    print(f"{caught} of {mutants} mutants refused as they should; {len(rows) - mutants} right ones; ", end="")
    print(f"{time.monotonic() - made.start:.0f} s; not as they should: {', '.join(failed) or 'none'}")
    return int(bool(failed))


def _is_as_it_should_be(task: Task, gate: str | None) -> bool:
    """Whether a mutant was refused by one of its gates, and a right kernel by none."""
    return gate in task.gates if task.gates else gate is None


def _told(task: Task, verdict: Verdict) -> dict[str, Any]:
    last, worst = verdict.checks[-1], verdict.worst
    accuracy = last.accuracy
    return {
        "gate": verdict.gate,
        "ok": _is_as_it_should_be(task, verdict.gate),
        "sanitized": verdict.sanitized,
        "warnings": list(verdict.warnings),
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
    return Path(argument).name


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
            cells = (
                row["name"],
                row["base"],
                verdict,
                row.get("cases"),
                row.get("declined"),
                share,
                row.get("share_case") or "",
            )
            print(f"| {' | '.join(str(cell) for cell in cells)} |")
        print("\n| mutant | of | what is wrong | refused by | on | error | allowed | times |")
        print("|---|---|---|---|---|---|---|---|")
        for row in (row for row in rows if row["wanted"]):
            figures = ("", "", "")
            if row.get("error") is not None and row["gate"] in ("error", "fresh", "timed", "stream"):
                ratio = max(row["error"] / row["allowed"], row["share"] or 0) if row["allowed"] else float("inf")
                figures = (f"{row['error']:.2e}", f"{row['allowed']:.2e}", f"{ratio:.3g}")
            gate = row["gate"] if row["ok"] else f"**{row['gate'] or 'nothing'}**, not {'|'.join(row['wanted'])}"
            cells = (row["name"], row["base"], row["wrong"], gate, row.get("case") or "", *figures)
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
    verify.add_argument("--builders", type=int, default=2, help="builds, and sanitizers, at a time")
    verify.add_argument(
        "--again",
        type=Path,
        help="earlier results: what failed there goes first, what is not verified now is taken over",
    )
    verify.add_argument("--only", nargs="+", default=[""], help="kernels whose name holds one of these texts")
    verify.set_defaults(command=run)
    shown = commands.add_parser("table", help="print results as Markdown")
    shown.add_argument("results", type=Path, nargs="+")
    shown.set_defaults(command=table)
    arguments = parser.parse_args()
    return arguments.command(arguments)


if __name__ == "__main__":
    sys.exit(main())
