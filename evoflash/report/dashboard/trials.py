"""What the dashboard tells of a candidate."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from evoflash.core.status import Status
from evoflash.report.tables import duration, us
from evoflash.store import StoredCandidate
from evoflash.store.trials import trial_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

OUTCOME = ("index", "operator", "status", "reason")  # attributes that `facts` says in its own way
BUILT = ("registers", "shared_bytes", "spill_bytes")  # of the compiler's report


def trial(stored: StoredCandidate, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """A candidate as a finished trial that leads back to it."""
    found = trial_of(stored.candidate, stored.evaluation, distributions)
    genes = {name: value for name, value in found.user_attrs.items() if name not in OUTCOME}
    found.user_attrs = {**facts(stored), **genes}
    spent = stored.evaluation.spent_seconds
    found.datetime_complete = stored.finished_at.astimezone().replace(tzinfo=None)
    found.datetime_start = found.datetime_complete - timedelta(seconds=spent if spent > 0 else 0.0)
    return found


def facts(stored: StoredCandidate) -> dict[str, Any]:
    """By name, what a person wants to know beside the parameters; the command first that shows the rest."""
    candidate, evaluation = stored.candidate, stored.evaluation
    regimes = {each.regime: each.p50_us for each in evaluation.timings if not each.shape}
    build = evaluation.build.model_dump() if evaluation.build is not None else {}
    found: dict[str, Any] = {
        "command": f"evoflash show {stored.id}",
        "candidate": stored.id,
        "operator": candidate.operator,
        "parents": ", ".join(map(str, stored.parent_ids)) or None,
        "status": evaluation.status.value,
        "reason": evaluation.reason or None,
        "duplicate of trial": evaluation.duplicate_of,
        **{f"{regime} us": round(time, 3) for regime, time in regimes.items() if regime != "warm" and time == time},
        **{name.replace("_", " "): build.get(name) for name in BUILT},
        "build s": round(build["seconds"], 3) if build.get("seconds") else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def note(stored: StoredCandidate, more: str) -> str:
    """A candidate's page in Markdown.

    Args:
        more: options that the commands need, with a leading blank.
    """
    candidate, evaluation = stored.candidate, stored.evaluation
    time = f"{us(stored.fitness_us)} us" if stored.fitness_us is not None else evaluation.reason or "no time"
    parents = " and ".join(f"candidate {each}" for each in stored.parent_ids)
    lines = [
        f"**Candidate {stored.id}**, {candidate.family}: {evaluation.status.value}, {time}",
        "",
        f"- by *{candidate.operator}*{f' from {parents}' if parents else ', without parents'}",
        f"- evaluated in {duration(evaluation.seconds)}",
        f"- `evoflash show {stored.id}{more}`: errors, times, the compiler's report; `--source`, `--log`",
        f"- `evoflash lineage {stored.id}{more}`: how it came about",
    ]
    if stored.parent_ids:
        lines.append(f"- `evoflash diff {stored.parent_ids[0]} {stored.id}{more}`: what changed")
    if evaluation.status is Status.OK:
        lines.append(f"- `evoflash profile {stored.id}{more}`: what bounds it")
    return "\n".join(lines)
