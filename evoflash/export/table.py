"""What a kernel is asked for: its row of the package's table, and what callers, readers and commands say for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evoflash.export.winner import Winner

# Keys of a row that say what a kernel has beyond a causal mask; absent where it has not.
FEATURES = (
    "value_size",
    "window",
    "attn_mask",
    "softcap",
    "alibi_slopes",
    "sinks",
    "lengths",
    "page_size",
    "latent",
)
NOT_IN_SDPA = frozenset({"softcap", "sinks", "lengths", "page_size"})  # SDPA has neither arguments nor masks for them


def document(winner: Winner) -> dict[str, Any]:
    """What the operators ask each kernel for."""
    return {
        "about": "Kernels in the order in which they are asked. A range is [first, last]; null is no end. What no"
        " kernel is asked for goes to SDPA.",
        "kernels": winner.sweep["rows"]
        if winner.sweep is not None
        else [row(source, kernel) for source, kernel in winner.sources.items()],
    }


def row(source: str, kernel: Winner) -> dict[str, Any]:
    """What one kernel is asked for, by the name of its source file."""
    problem = kernel.problem.model_dump(mode="json")
    own = kernel.sizes == "its own"
    return {
        "name": f"{kernel.family} {kernel.source_sha256[:8]}",
        "source": source,
        "dtype": problem["dtype"],
        "head_size": problem["head_dim"],
        "causal": problem["causal"],
        "query_length": [problem["seq_q"]] * 2 if own else [1, None],
        "key_length": [problem["seq_kv"]] * 2 if own else [1, None],
        "batch_heads": [1, None],
        **features(kernel),
    }


def is_inside(point: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether a row asks its kernel for a point of a sweep."""
    kind = ("dtype", "head_size", "causal", *FEATURES)
    sizes = {
        "batch_heads": point["batch"] * point["heads"],
        "query_length": point["queries"],
        "key_length": point["keys"],
    }
    return all(point.get(each) == row.get(each) for each in kind) and all(
        row[axis][0] <= size <= row[axis][1] for axis, size in sizes.items()
    )


def features(kernel: Winner) -> dict[str, Any]:
    """What a kernel has beyond a causal mask, by the keys of a row; nothing for one that has none."""
    facts = kernel.problem.facts()
    found = {
        "value_size": facts["value_dim"] if facts["value_dim"] != facts["head_dim"] else None,
        "window": facts["banded"],
        "attn_mask": "bool" if facts["masked"] else "float" if facts["biased"] else None,
        "softcap": facts["capped"],
        "alibi_slopes": facts["alibi"],
        "sinks": facts["sinks"],
        "lengths": facts["ragged"],
        "page_size": facts["page_size"],
        "latent": facts["latent"],
    }
    return {name: found[name] for name in FEATURES if found[name]}


def searched(kernel: Winner) -> dict[str, Any]:
    """What a kernel was searched for, as the package's own programs make it again: see `Form` of its selftest."""
    problem = kernel.problem.model_dump(mode="json")
    own = features(kernel)
    sides = problem["window"]
    return {
        "sizes": [problem[name] for name in ("batch", "heads", "kv_heads", "seq_q", "seq_kv")],
        "dtype": problem["dtype"],
        "head_size": problem["head_dim"],
        "value_size": own.get("value_size", problem["head_dim"]),
        "causal": problem["causal"],
        "window_size": None if sides is None else tuple(-1 if side is None else side for side in sides),
        "align": problem["align"],
        "softcap": problem["softcap"],
        "mask": problem["mask"],
        "bias": problem["bias"],
        "alibi": problem["alibi"],
        "sinks": problem["sinks"],
        "lengths": "lengths" in own,
        "page_size": own.get("page_size", 0),
        "latent": "latent" in own,
    }


def values(kernel: Winner) -> str:
    """What a call of `attention` says for v to be computed by this kernel."""
    own = features(kernel)
    return f"k[..., :{own.get('value_size', kernel.problem.facts()['head_dim'])}]" if "latent" in own else "v"


def usage(kernel: Winner) -> str:
    """What a call of `attention` says beside q, k and the values to be computed by this kernel."""
    form, own = searched(kernel), features(kernel)
    words = ["causal=True"] if form["causal"] else []
    words += ["attn_mask=mask"] if "attn_mask" in own else []
    words += [f"window_size=({', '.join(map(str, form['window_size']))})"] if form["window_size"] else []
    words += [f'align="{form["align"]}"'] if form["align"] != "top_left" else []
    words += [f"softcap={form['softcap']}"] if form["softcap"] else []
    words += [f"{name}={name}" for name in ("alibi_slopes", "sinks", "lengths") if name in own]
    words += ["block_table=block_table"] if "page_size" in own else []
    return "".join(f", {word}" for word in words)


def does(kernel: Winner) -> str:
    """The mask of a kernel and what it does to scores, in words; "none" for neither."""
    own = features(kernel)
    problem = kernel.problem.model_dump(mode="json")
    words = ["causal"] if problem["causal"] else []
    words += ["window" if problem["window"] else "aligned bottom-right"] if "window" in own else []
    words += [{"bool": "boolean mask", "float": "additive bias"}[own["attn_mask"]]] if "attn_mask" in own else []
    names = {"softcap": "soft cap", "alibi_slopes": "ALiBi", "sinks": "sinks", "lengths": "lengths of sequences"}
    words += [word for name, word in names.items() if name in own]
    words += [f"pages of {own['page_size']} keys"] if "page_size" in own else []
    words += ["values in the first columns of k"] if "latent" in own else []
    return ", ".join(words) or "none"


def lengths(kernel: Winner) -> str:
    """Which lengths a kernel takes, in words."""
    sizes = _sizes(kernel)
    own = f"{sizes['seq_q']} queries and {sizes['seq_kv']} keys only"
    return {"any": "any", "some": "some; `is_supported` tells which", "its own": own}[kernel.sizes]


def shape(kernel: Winner) -> str:
    """The searched problem as a command takes it."""
    facts = kernel.problem.model_dump(mode="json")
    fields = {"b": "batch", "h": "heads", "kv": "kv_heads", "s": "seq_q", "t": "seq_kv", "d": "head_dim"}
    words = [f"{short}={facts[name]}" for short, name in fields.items()]
    words.append(f"dtype={ {'float16': 'fp16', 'bfloat16': 'bf16', 'float32': 'fp32'}[facts['dtype']] }")
    if facts["scale"] is not None:
        words.append(f"scale={facts['scale']}")
    if facts["value_dim"] is not None:
        words.append(f"v={facts['value_dim']}")
    words += ["causal"] if facts["causal"] else []
    words += [f"align={facts['align']}"] if facts["align"] != "top_left" else []
    if facts["window"] is not None:
        words.append("window=" + ":".join("" if side is None else str(side) for side in facts["window"]))
    words += [f"softcap={facts['softcap']:g}"] if facts["softcap"] else []
    words += [f"{name}={facts[name]}" for name in ("bias", "mask") if facts[name]]
    words += [name for name in ("alibi", "sinks", "latent") if facts[name]]
    words += [f"layout={facts['layout']}"] if facts["layout"] != "bhsd" else []
    words += [f"lengths={facts['lengths']}"] if facts["lengths"] else []
    return ",".join([*words, *([f"page={facts['page_size']}"] if facts["page_size"] else [])])


def _sizes(kernel: Winner) -> dict[str, int]:
    """The sizes that a kernel was searched for."""
    problem = kernel.problem.model_dump(mode="json")
    return {name: problem[name] for name in ("heads", "kv_heads", "seq_q", "seq_kv")}
