"""Tables of runs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from evoflash.core.finals import Finals
from evoflash.core.statistics import Ratio
from evoflash.problems import FunctionProblem
from evoflash.report.runs import Best, RunReport, Share
from evoflash.report.tables import Sheet, duration, times, us
from evoflash.store import DeviceTally, Insight, RunSummary

SHOWN_CASES = 3


def run_sheets(found: RunReport) -> list[Sheet]:
    """The report of a run as tables."""
    run = found.run
    head = {
        "status": f"{run.status}{': ' + run.stop_reason if run.stop_reason else ''}",
        "begun": moment(run.created_at),
        "elapsed": duration(run.elapsed_s),
        "problem": run.problem_label,
        "target": run.target,
        "strategy": run.strategy,
        "seed": run.seed,
        "candidates": f"{run.candidates}, {run.correct} correct",
        "searched with": ", ".join(f"run {each.id} ({each.problem_label})" for each in found.siblings) or None,
    }
    columns = ">candidates|>correct|>improvements|>best, us"
    return [
        Sheet.facts(f"run {run.id}", head),
        Sheet.facts("settings", settings(run.plan)),
        Sheet.facts("machine", run.machine),
        Sheet.of("by status", "status|>candidates", list(found.statuses.items())),
        Sheet.of("by family", f"family|{columns}", [_share_row(share) for share in found.families]),
        Sheet.of("by operator", f"operator|{columns}", [_share_row(share) for share in found.operators]),
        *([_devices_sheet(found.devices, run.elapsed_s)] if len(found.devices) > 1 else []),
        Sheet.of(
            "convergence",
            ">after candidates|>after|>best, us|>candidate|operator",
            [
                (each.after, duration(each.seconds), us(each.best_us), each.candidate, each.operator)
                for each in found.convergence
            ],
        ),
        *(finals_sheets(found.finals, found.finalist_ids) if found.finals is not None else ()),
        insights_sheet(latest(found.insights)),
    ]


def _devices_sheet(devices: Sequence[DeviceTally], elapsed_s: float | None) -> Sheet:
    """What each device did; its pace and its busy share are of the whole search."""
    rows = [
        (
            each.device,
            each.count,
            each.failed,
            f"{60 * each.count / elapsed_s:.0f}" if elapsed_s else None,
            f"{min(1.0, each.seconds / elapsed_s):.0%}" if elapsed_s else None,
            f"{each.clock_ratio:.4f}",
        )
        for each in devices
    ]
    return Sheet.of("by device", "device|>candidates|>failed|>a minute|>busy|>clock", rows)


def settings(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A plan on record with its shapes by their names; of a function its file and sizes, not its text."""
    return {**plan, "shapes": {each["name"]: _fields(each["problem"]) for each in plan.get("shapes", ())}}


def _fields(problem: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a problem on record from others of its kind."""
    names = ("kind", "name", "file", "sizes")
    return {name: problem[name] for name in names} if problem.get("kind") == FunctionProblem.kind else dict(problem)


def insights_sheet(insights: Sequence[Insight]) -> Sheet:
    """Observations, one per row."""
    rows = [(each.generation, each.kind, each.text) for each in insights]
    return Sheet.of("insights", ">generation|kind|text", rows)


def latest(insights: Sequence[Insight]) -> list[Insight]:
    """The observations of the latest generation of each kind; `runs insights --all` shows all generations."""
    last = {each.kind: each.generation for each in sorted(insights, key=lambda each: each.generation)}
    return [each for each in insights if each.generation == last[each.kind]]


def finals_sheets(finals: Finals, ids: Mapping[int, int]) -> list[Sheet]:
    """Finalists and baselines by time, and the baselines that cannot run; `ids` maps indices in the run to ids."""
    rows: list[tuple[float, tuple[object, ...]]] = []
    for final in finals.finalists:
        time = final.time
        remark = final.reason or _declined(final.refused)
        row = (
            f"candidate {ids[final.index]}",
            final.status.value,
            us(time.p50_us) if time else None,
            us(time.p90_us) if time else None,
            us(time.p99_us) if time else None,
            _shown(final.vs_best),
            _shown(final.vs_math),
            final.cases,
            remark,
        )
        rows.append((time.p50_us if time else float("inf"), row))
    for each in finals.baselines:
        version = finals.versions.get(each.name, "")
        row = (each.name, "baseline", us(each.p50_us), us(each.p90_us), us(each.p99_us), "", "", "", version)
        rows.append((each.p50_us, row))
    columns = "|status|>p50, us|>p90|>p99|>vs best|>vs plain|>cases|"
    table = Sheet.of(
        f"finals, {finals.rounds} rounds", columns, [row for _, row in sorted(rows, key=lambda row: row[0])]
    )
    return [
        table,
        by_shape_sheet(finals, ids),
        Sheet.of("baselines that did not run", "name|why", list(finals.baseline_failures.items())),
    ]


def by_shape_sheet(finals: Finals, ids: Mapping[int, int]) -> Sheet:
    """In a multi-shape run, each finalist on each shape against the fastest baseline there."""
    rows = []
    for final in finals.finalists:
        for time in final.by_shape:
            rivals = [each for each in finals.baselines_by_shape if each.shape == time.shape]
            best = min(rivals, key=lambda each: each.p50_us, default=None)
            against = f"{times(best.p50_us / time.p50_us)} {best.name}" if best else None
            rows.append((f"candidate {ids[final.index]}", time.shape, us(time.p50_us), us(time.p90_us), against))
    return Sheet.of("on each shape", "|shape|>p50, us|>p90|>vs the fastest baseline", rows)


def runs_sheet(runs: Sequence[RunSummary]) -> Sheet:
    """All runs, one per row."""
    rows = [
        (
            run.id,
            moment(run.created_at),
            run.status,
            run.strategy,
            run.target,
            run.problem_label,
            run.candidates,
            run.correct,
            us(run.best_us),
            duration(run.elapsed_s),
        )
        for run in runs
    ]
    columns = ">run|begun|status|strategy|target|problem|>candidates|>correct|>best, us|>elapsed"
    if any(run.group_id is not None for run in runs):
        columns += "|>with"
        rows = [(*row, run.group_id) for row, run in zip(rows, runs, strict=True)]
    return Sheet.of("runs", columns, rows)


def best_sheet(found: Best) -> Sheet:
    """The best candidate as names and values."""
    against = times(found.vs_best, *(found.vs_best_interval or ()))
    facts: dict[str, object] = {
        "family": found.family,
        "genome": ", ".join(f"{name}={value}" for name, value in found.genome.items()),
        "p50": f"{us(found.p50_us)} us",
        "vs best": f"{against} {found.best_baseline}" if against else None,
        "vs plain": times(found.vs_math, *(found.vs_math_interval or ())),
        "baselines": ", ".join(f"{name} {us(value)} us" for name, value in found.baselines.items()) or None,
        "cases": found.cases,
        "status": found.status,
    }
    return Sheet.facts(f"run {found.run}: candidate {found.candidate} (number {found.index} of the run)", facts)


def _declined(cases: Sequence[str]) -> str:
    """The first few cases that a kernel declined; `runs show --json` lists all."""
    if not cases:
        return ""
    more = f" and {len(cases) - SHOWN_CASES} more" if len(cases) > SHOWN_CASES else ""
    return f"declined {', '.join(cases[:SHOWN_CASES])}{more}"


def moment(when: datetime) -> str:
    """Local time with seconds."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _share_row(share: Share) -> tuple[object, ...]:
    return share.name, share.candidates, share.correct, share.improvements, us(share.best_us)


def _shown(ratio: Ratio | None) -> str | None:
    return times(ratio.value, ratio.low, ratio.high) if ratio is not None else None
