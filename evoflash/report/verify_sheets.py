"""The tables of `evoflash verify`."""

from collections.abc import Sequence

from evoflash.report.tables import Sheet, us
from evoflash.verify.verdict import Checked, Verdict


def cases_sheet(verdict: Verdict) -> Sheet:
    """Every case in order: its errors, the allowed errors, those of PyTorch, and the outcome."""
    columns = "case|>max error|>allowed|>PyTorch's|>rms|>allowed|>PyTorch's||gate|why"
    title = f"{verdict.name}: {verdict.problem}, seed {verdict.seed}"
    return Sheet.of(title, columns, [_row(each) for each in verdict.checks])


def verdicts_sheet(verdicts: Sequence[Verdict]) -> Sheet:
    """One row per kernel."""
    rows = []
    for each in verdicts:
        worst = each.worst
        rows.append(
            (
                each.name,
                "accepted" if each.accepted else "refused",
                each.gate or "",
                sum(check.outcome == "passed" for check in each.checks),
                sum(check.outcome == "declined" for check in each.checks),
                f"{worst.share:.2f}" if worst is not None else None,
                worst.case if worst is not None else None,
                us(each.p50_us),
                us(each.floor_us),
                each.reason or "; ".join(f"{tool}: {words}" for tool, words in each.sanitized.items()),
            )
        )
    columns = "verdicts|kernel||gate|>passed|>declined|>worst error / allowed|worst case|>p50, us|>floor, us|why"
    return Sheet.of(columns.split("|")[0], columns.partition("|")[2], rows)


def _row(check: Checked) -> tuple[object, ...]:
    each = check.accuracy
    figures: tuple[object, ...] = ("",) * 6
    if each is not None:
        pairs = (each.max_error, each.max_bound, each.sdpa_max_error, each.rms_error, each.rms_bound)
        figures = tuple(f"{value:.2e}" for value in (*pairs, each.sdpa_rms_error))
    case = f"{check.case}: {each.output}" if each is not None and each.output else check.case
    return (case, *figures, check.outcome, check.gate or "", check.reason)
