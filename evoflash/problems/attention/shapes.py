"""Parsing of shapes: a name from configs/shapes.yaml, or fields such as b=1,h=8,s=512,d=64,causal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evoflash import resources
from evoflash.errors import NotFoundError, UsageError, unknown
from evoflash.problems.attention.form import DTYPES, KV_DTYPES
from evoflash.problems.attention.problem import AttentionProblem
from evoflash.problems.sizes import divided

FIELDS = {
    "b": "batch",
    "h": "heads",
    "kv": "kv_heads",
    "s": "seq_q",
    "t": "seq_kv",
    "d": "head_dim",
    "dtype": "dtype",
    "causal": "causal",
    "scale": "scale",
    "v": "value_dim",
    "latent": "latent",
    "align": "align",
    "window": "window",
    "softcap": "softcap",
    "bias": "bias",
    "mask": "mask",
    "alibi": "alibi",
    "sinks": "sinks",
    "lengths": "lengths",
    "page": "page_size",
    "kv_dtype": "kv_dtype",
    "layout": "layout",
    "lse": "lse",
}
FLAGS = ("causal", "latent", "alibi", "sinks", "lse")
SYNTAX = (
    "b=1,h=8,s=512,d=64 and optionally kv=, t=, v=, latent, dtype=fp16|bf16|fp32, scale=, causal, align=bottom_right, "
    "window=127 or window=127:0, softcap=, bias=hqk, mask=bk, alibi, sinks, lengths=uniform or lengths=7+300, page=16, "
    "kv_dtype=fp8, layout=bshd or layout=packed, lse"
)


def shape_names() -> list[str]:
    """The names in configs/shapes.yaml, in order."""
    return list(resources.config("shapes"))


def parse(text: str, dtype: str | None = None, folders: Sequence[Path] = ()) -> AttentionProblem:
    """Parses a shape.

    Args:
        text: the name of a shape, or comma-separated fields.
        dtype: fp16, bf16 or fp32; overrides that of the shape.
        folders: the user's folders, whose configs/shapes.yaml overrides the shipped one.

    Raises:
        NotFoundError: for an unknown name, with the closest ones.
        UsageError: for invalid fields.
    """
    shapes = resources.config("shapes", folders)
    if "=" in text:
        return build(repr(text), _fields(text), dtype)
    if text in shapes:
        return build(f"{text!r} of configs/shapes.yaml", shapes[text], dtype)
    raise unknown("shape", text, shapes)


def parse_all(
    texts: Sequence[str], dtype: str | None = None, folders: Sequence[Path] = ()
) -> dict[str, AttentionProblem]:
    """Parses several shapes; returns the distinct problems by name, as the user wrote it.

    Args:
        texts: names and fields, as for `parse`, separated by commas: "mission,b=1,h=8,s=64,d=64,causal,bert".
    """
    found: dict[str, AttentionProblem] = {}
    for text in texts:
        for name in divided(text, FLAGS):
            problem = parse(name, dtype, folders)
            if problem not in found.values():
                found[name] = problem
    if not found:
        raise UsageError(f"no shape is given; write names from configs/shapes.yaml separated by commas, or {SYNTAX}")
    return found


def build(where: str, values: Mapping[str, Any], dtype: str | None = None) -> AttentionProblem:
    """Creates a problem from the short field names of shapes.yaml."""
    if not isinstance(values, Mapping):
        raise UsageError(f"shape {where} must be a mapping of fields, not {values!r}; write {SYNTAX}")
    stray = [key for key in values if key not in FIELDS]
    if stray:
        raise UsageError(f"shape {where}: unknown field {stray[0]!r}; write {SYNTAX}")
    missing = [key for key in "bhsd" if key not in values]
    if missing:
        raise UsageError(f"shape {where}: {missing[0]!r} is missing; write {SYNTAX}")
    fields = {FIELDS[key]: value for key, value in values.items()}
    if isinstance(fields.get("window"), str | int):
        left, colon, right = str(fields["window"]).partition(":")
        fields["window"] = [side.strip() or None for side in (left, right if colon else left)]
    fields.setdefault("kv_heads", fields["heads"])
    fields.setdefault("seq_kv", fields["seq_q"])
    name = dtype or fields.get("dtype") or "fp16"
    if name not in (*DTYPES, *DTYPES.values()):
        raise NotFoundError(f"shape {where}: {unknown('dtype', str(name), DTYPES)}")
    fields["dtype"] = DTYPES.get(name, name)
    fields |= {key: KV_DTYPES.get(fields[key], fields[key]) for key in fields.keys() & {"kv_dtype"}}
    try:
        return AttentionProblem(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"shape {where}: {field + ': ' if field else ''}{first['msg']}; write {SYNTAX}") from None


def _fields(text: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if key in FLAGS and value.lower() in ("", "1", "true", "0", "false"):
            values[key] = value.lower() in ("", "1", "true")
        elif not equals:
            raise UsageError(f"shape {text!r}: cannot read {part!r}; write {SYNTAX}")
        else:
            values[key] = value
    return values
