"""Damage to files: bytes, lines and values that are changed as a bad copy, an editor or another program may do it."""

import copy
import json
from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]

# A file may have any of these where a name, a number or a list is expected.
VALUES = [
    None, True, False, 0, -1, 1, -0.0, 0.5, -2.5, 1e-300, 1e308, -1e308, float("nan"), float("inf"), float("-inf"),
    2**63, -(2**70), 10**400, "", "nan", "1e999", "ünï", "a b", "../x", "x" * 300, "\x00", "\u2028", "\ud800",
    [], {}, [[]], [1, "a"], {"a": {"b": [None]}}, {"": 0}, {"time": 1.0},
]  # fmt: skip
KEYS = ["", "x", "time", "family", "objective", "results", "cache", "values", "ünï", "a b", "\x00", "1"]


def places(document: Any) -> list[tuple[Any, Any]]:
    """Every container of a document with every key or index in it."""
    found = []
    if isinstance(document, dict | list):
        for key in list(document) if isinstance(document, dict) else range(len(document)):
            found.append((document, key))
            found += places(document[key])
    return found


def changed(document: Any, draw: Draw) -> Any:
    """A copy with up to three values replaced, removed, renamed or repeated."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        known = places(document)
        if not known:
            return document
        container, key = known[draw(st.integers(0, len(known) - 1))]
        how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "rename", "repeat"]))
        if how == "remove":
            del container[key]
        elif how == "rename" and isinstance(container, dict):
            container[draw(st.sampled_from(KEYS))] = container.pop(key)
        elif how == "repeat" and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        elif how == "repeat" and isinstance(container, dict):
            other = list(container)[draw(st.integers(0, len(container) - 1))]
            container[key] = copy.deepcopy(container[other])
        else:
            container[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))
    return draw(st.sampled_from(VALUES)) if draw(st.integers(0, 49)) == 37 else document


def with_changed_lines(text: str, draw: Draw) -> str:
    """The text with up to three lines removed, repeated, swapped, or with a field of them replaced."""
    lines = text.split("\n")
    for _ in range(draw(st.integers(1, 3))):
        at, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        how = draw(st.sampled_from(["remove", "repeat", "swap", "field", "field", "field"]))
        if how == "remove" and len(lines) > 1:
            del lines[at]
        elif how == "repeat":
            lines.insert(other, lines[at])
        elif how == "swap":
            lines[at], lines[other] = lines[other], lines[at]
        else:
            separator = "," if "," in lines[at] else ":"
            fields = lines[at].split(separator)
            fields[draw(st.integers(0, len(fields) - 1))] = str(draw(st.sampled_from(VALUES)))
            lines[at] = separator.join(fields)
    return "\n".join(lines)


def with_changed_bytes(data: bytes, draw: Draw) -> bytes:
    """The bytes with some flipped, replaced or inserted, or cut off."""
    damaged = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        if not damaged:
            break
        at = draw(st.integers(0, len(damaged) - 1))
        how = draw(st.sampled_from(["flip", "replace", "insert", "cut"]))
        if how == "flip":
            damaged[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "replace":
            damaged[at] = draw(st.sampled_from(b"\x00\xff\n,:{}[]\"'-&*!#09.e"))
        elif how == "insert":
            damaged[at:at] = draw(st.binary(min_size=1, max_size=4))
        else:
            del damaged[at:]
    return bytes(damaged)


def encoded(text: str) -> bytes:
    """UTF-8, with half a surrogate pair as the three bytes that no UTF-8 has."""
    return text.encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: Any, kind: str, data: bytes) -> bytes:
    """A damaged file of a kind: "json", "yaml" or "lines"."""
    how = draw(st.sampled_from(["values", "values", "lines", "bytes"]))
    if how == "bytes":
        return with_changed_bytes(data, draw)
    if how == "values" and kind == "json":
        return encoded(json.dumps(changed(json.loads(data), draw), indent=draw(st.sampled_from([None, 1]))))
    if how == "values" and kind == "yaml":
        document = changed(yaml.safe_load(data), draw)
        return encoded(yaml.dump(document, allow_unicode=draw(st.booleans()), sort_keys=False))
    return encoded(with_changed_lines(data.decode(), draw))
