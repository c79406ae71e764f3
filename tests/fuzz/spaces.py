"""Random search spaces as a person, or a machine, might write them: mostly sensible, sometimes nonsense."""

import re
from typing import Any

from hypothesis import strategies as st

NAMES = ["a", "b", "c", "rows", "stages", "layout", "fast"]
WORDS = ["x", "y", "z", "early", "late", "ünï", "", "64", "True"]
numbers = st.integers(-3, 300) | st.sampled_from([0, 1, 2**31, -(2**63), 2**70, 10**30])
values = numbers | st.booleans() | st.floats(allow_nan=False, allow_infinity=False, width=32) | st.sampled_from(WORDS)


@st.composite
def parameters(draw: Any) -> dict[str, Any]:
    kind = draw(st.sampled_from(["ordinal", "ordinal", "categorical", "flag"]))
    if kind == "flag":
        return {"kind": "flag"}
    one = numbers if draw(st.booleans()) else values
    return {"kind": kind, "values": draw(st.lists(one, min_size=1, max_size=6, unique_by=repr))}


atoms = st.sampled_from([*NAMES, "problem.rows", "device.cores", "total", "0", "1", "2", "64", "1.5", "'x'", "true"])


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """A larger expression out of smaller ones."""
    binary = st.sampled_from(["+", "-", "*", "//", "/", "%", "**", "<", "<=", "==", "!=", ">", "and", "or", "in"])
    return st.one_of(
        st.tuples(inner, binary, inner).map(lambda each: f"({each[0]} {each[1]} {each[2]})"),
        st.tuples(inner, inner, inner).map(lambda each: f"({each[0]} if {each[1]} else {each[2]})"),
        inner.map(lambda each: f"(not {each})"),
        inner.map(lambda each: f"(-{each})"),
        st.tuples(st.sampled_from(["min", "max", "ceil_div"]), inner, inner).map(lambda e: f"{e[0]}({e[1]}, {e[2]})"),
        st.lists(inner, max_size=3).map(lambda each: f"[{', '.join(each)}]"),
    )


grammatical = st.recursive(atoms, combined, max_leaves=6)
comparisons = st.tuples(
    st.sampled_from(NAMES), st.sampled_from(["<", "<=", "==", "!=", ">", ">="]), st.sampled_from([*NAMES, "2", "64"])
).map(" ".join)
nonsense = st.integers(0, 9).flatmap(lambda draw: st.text(max_size=20) if draw == 7 else comparisons)
expressions = st.one_of(comparisons, grammatical, nonsense)


def _with_names(expression: str, names: list[str]) -> str:
    """The expression with every name that is not one of these replaced by one that is."""
    unknown = [name for name in [*NAMES, "total"] if name not in names]
    for number, name in enumerate(unknown):
        expression = re.sub(rf"\b{name}\b", names[number % max(1, len(names) - 2)], expression)
    return expression


@st.composite
def documents(draw: Any) -> dict[str, Any]:
    """The content of a search_spaces/*.yaml."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True))
    derived = draw(grammatical) if draw(st.booleans()) else None
    constraints = draw(st.lists(expressions, max_size=4))
    if draw(st.integers(0, 9)) != 7:  # else they may read what is not declared, which is refused
        known = [*names, "problem", "device"]
        constraints = [_with_names(each, [*known, *(["total"] if derived else [])]) for each in constraints]
        derived = _with_names(derived, known) if derived else None
    document: dict[str, Any] = {
        "family": "random",
        "parameters": {name: draw(parameters()) for name in names},
        "constraints": [{"expr": each, "why": "so it is"} for each in constraints],
    }
    if derived is not None:
        document["derived"] = {"total": derived}
    if draw(st.integers(0, 19)) == 17:
        document[draw(st.sampled_from(["family", "parameters", "seeds", "derived", "stray"]))] = draw(
            st.none() | st.text(max_size=5) | st.integers() | st.lists(st.integers(), max_size=2) | st.just({})
        )
    return document
