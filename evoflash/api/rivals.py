"""The baselines beside PyTorch's: packages that are installed, and functions that the user names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evoflash.api.families import FUNCTION, FUNCTION_BY_FILE, refuse_path
from evoflash.errors import MissingError, UsageError, unknown
from evoflash.evaluator.messages import Probed
from evoflash.problems import Problem
from evoflash.problems.rival import Rival
from evoflash.report.tables import Sheet

NONE = "none"
LONGEST_NAME = 64  # of a baseline in the database


def chosen(texts: Sequence[str] | None, shapes: Iterable[Problem], target: str) -> tuple[str, ...]:
    """The rivals of these shapes on a target: what is installed and takes part by itself, then what was named.

    Args:
        texts: the values of --baseline.

    Raises:
        UsageError: for a word that is no name and no module:function.
        NotFoundError: for a name that no rival has.
        MissingError: for a rival that is not installed.
    """
    asked = [text for text in dict.fromkeys(texts or ()) if text != NONE]
    known = {rival.name: rival for problem in shapes for rival in problem.rivals(target)}
    for text in asked:
        _require(text, known)
    if NONE in (texts or ()):
        return tuple(asked)
    present = [name for name, rival in known.items() if target not in rival.on_request and rival.is_installed]
    return tuple(dict.fromkeys([*present, *asked]))


def _require(text: str, known: dict[str, Rival]) -> None:
    if FUNCTION_BY_FILE.fullmatch(text):
        refuse_path(text)
    if len(text) > LONGEST_NAME:
        raise UsageError(f"--baseline {text} has more than {LONGEST_NAME} characters; give the function a shorter name")
    if FUNCTION.fullmatch(text):
        return
    if ":" in text:
        raise UsageError(f"--baseline {text} names no function; write module:function")
    if text not in known:
        raise unknown("baseline", text, [*known, NONE])
    if not known[text].is_installed:
        raise MissingError(f"--baseline {text} is not installed; pip install {known[text].package}")


def facts(rivals: Sequence[Rival], probed: Probed) -> list[dict[str, str]]:
    """What `evoflash doctor` says of each rival, by column.

    Args:
        probed: how the imports of the installed ones went.
    """
    found = []
    for each in rivals:
        failure = probed.failures.get(each.name, "")
        state = "not installed" if not each.is_installed else "unusable" if failure else "installed"
        version = (probed.versions.get(each.name) or each.version or "unknown") if each.is_installed else ""
        found.append({"name": each.name, "module": each.module, "version": version, "state": state, "reason": failure})
    return found


def sheet(rivals: Sequence[Rival], probed: Probed, target: str) -> Sheet:
    """The rivals of a target, installed or not."""
    rows = []
    for rival, found in zip(rivals, facts(rivals, probed), strict=True):
        remark = found["reason"]
        if found["state"] == "not installed":
            remark = f"pip install {rival.package}"
        elif found["state"] == "installed" and target in rival.on_request:
            remark = f"on request: --baseline {rival.name}"
        rows.append((found["name"], found["state"], found["version"], found["module"], remark))
    return Sheet.of(f"rivals: baselines beside PyTorch's on {target}", "name|state|version|module|", rows)
