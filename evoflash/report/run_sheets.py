"""Tables of runs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from evoflash.core.finals import Finals
from evoflash.core.statistics import Ratio
from evoflash.problems import FunctionProblem
from evoflash.report.runs import Best, RunReport, Share
from evoflash.report.tables import Sheet, duration, times, us
from evoflash.run.fair_clock import differences, off_peers, words_of
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
        *([_devices_sheet(found.devices, run.elapsed_s)] if _tells_devices(found.devices) else []),
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


def _tells_devices(devices: Sequence[DeviceTally]) -> bool:
    """Whether there is something to tell of devices: that there are several, or their states."""
    return len(devices) > 1 or any(each.mean_mhz is not None for each in devices)


def _devices_sheet(devices: Sequence[DeviceTally], elapsed_s: float | None) -> Sheet:
    """What each device did; its pace and its busy share are of the whole search."""
    off = off_peers({each.device: each.clock_ratio for each in devices})
    rows = [
        (
            each.device,
            each.count,
            each.failed,
            f"{60 * each.count / elapsed_s:.0f}" if elapsed_s else None,
            f"{min(1.0, each.seconds / elapsed_s):.0%}" if elapsed_s else None,
            f"{each.clock_ratio:.4f}",
            _range(each.lowest_c, each.highest_c),
            _range(each.lowest_mhz, each.highest_mhz),
            words_of(each.device, off[each.device]) if each.device in off else "",
        )
        for each in devices
    ]
    columns = "device|>candidates|>failed|>a minute|>busy|>clock|>degrees C|>MHz|"
    return Sheet.of("by device", columns, rows)


def _range(lowest: float | None, highest: float | None) -> str | None:
    """E.g. "1755 to 1980"; nothing where it is not known."""
    if lowest is None or highest is None:
        return None
    return f"{lowest:.0f}" if lowest == highest else f"{lowest:.0f} to {highest:.0f}"


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
    """The finals on each device on which they were held; `ids` maps indices in the run to ids."""
    if not finals.elsewhere:
        return _finals_sheets(finals, ids)
    held = (finals, *finals.elsewhere)
    return [*(sheet for each in held for sheet in _finals_sheets(each, ids)), by_device_sheet(finals, ids)]


def by_device_sheet(finals: Finals, ids: Mapping[int, int]) -> Sheet:
    """The winner on each device beside that of the first, and where the devices differ."""
    rows = []
    for each in (finals, *finals.elsewhere):
        winner, state = each.winner, each.conditions
        of_run = next((final for final in each.finalists if finals.winner and final.index == finals.winner.index), None)
        against = winner.vs_best if winner is not None else None
        rows.append(
            (
                state.device,
                f"candidate {ids[winner.index]}" if winner is not None else "none",
                us(winner.time.p50_us) if winner is not None and winner.time is not None else None,
                us(of_run.time.p50_us) if of_run is not None and of_run.time is not None else None,
                _shown(against),
                f"{state.clock_mhz[1]:.0f}" if state.clock_mhz is not None else None,
                _range(*state.temperature_c) if state.temperature_c is not None else None,
                "; ".join(differences(finals.model_copy(update={"elsewhere": (each,)}), ids.__getitem__))
                if each is not finals
                else "",
            )
        )
    columns = "device|winner|>p50, us|>of the run's winner|>vs best|>MHz|>degrees C|"
    return Sheet.of("finals by device", columns, rows)


def _finals_sheets(finals: Finals, ids: Mapping[int, int]) -> list[Sheet]:
    """Finalists and baselines by time, and the baselines that cannot run."""
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
    where = f" on {finals.conditions.device}" if finals.conditions.device else ""
    title = f"finals{where}, {finals.rounds} rounds"
    table = Sheet.of(title, columns, [row for _, row in sorted(rows, key=lambda row: row[0])])
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
