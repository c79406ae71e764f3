"""Fields of a file, checked and converted. Each function raises `MisfitError` for what its format does not allow."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from evoflash.core.genome import Gene
from evoflash.replay.formats.measurement import FAILED
from evoflash.replay.formats.refusals import MisfitError, NoObjectiveError


def require(objective: str, names: Iterable[str]) -> None:
    """Checks that some configuration has a value of the objective, unless all of them failed without any.

    Raises:
        NoObjectiveError: when none has.
    """
    known = dict.fromkeys(names)
    if known and objective not in known:
        raise NoObjectiveError(objective, known)


def field(mapping: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    """The value of a key that must be there; `kind` is str, list or dict."""
    if key not in mapping:
        raise MisfitError(f"{where} has no {key!r}")
    return typed(mapping[key], kind, f"{key!r} of {where}")


def optional_list(mapping: Mapping[str, Any], key: str, where: str) -> list[Any]:
    """The list of a key, which may be missing or null."""
    return typed(mapping.get(key) or [], list, f"{key!r} of {where}")


def typed(value: Any, kind: type, where: str) -> Any:
    """The value, which must be of a kind: str, list or dict."""
    if not isinstance(value, kind):
        _refuse(value, {str: "a string", list: "a list", dict: "a mapping"}[kind], where)
    return value


def value_or_failure(value: Any, where: str) -> tuple[float | None, str]:
    """The value of an objective, or the failure that is given instead of it: a word or nothing."""
    if isinstance(value, str):
        return None, value or FAILED
    return (None, "") if value is None else (number(value, where), "")


def duration(value: Any, where: str) -> float:
    """A duration; none is 0, and so is the name of a failure that is given instead of it."""
    return number(value, f"a duration of {where}") if value is not None and not isinstance(value, str) else 0.0


def number(value: Any, where: str) -> float:
    """A number of JSON; an integer that no float can hold is infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(value, "a number", where)
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def number_of_text(text: str, where: str, name: str) -> float:
    """The number that a text spells."""
    try:
        return float(text)
    except ValueError:
        _refuse(text, "a number", f"{name!r} of {where}")


def gene(value: Any, text: str | None = None) -> Gene:
    """A gene; what is no number that a float can hold is a word: its text."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float) and math.isfinite(number(value, "a gene")):
        return value + 0  # -0.0 becomes 0.0, which equals it
    return json.dumps(value) if text is None else text


def gene_of_text(text: str) -> Gene:
    """The gene that a text spells: an integer, a number or a word."""
    for kind in (int, float):
        try:
            return gene(kind(text), text)
        except ValueError:
            continue
    return text


def _refuse(value: Any, kind: str, where: str) -> NoReturn:
    raise MisfitError(f"{where} is {value!r:.60}, not {kind}")
