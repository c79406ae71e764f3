"""The files of an exported distribution, rendered from evoflash/export/skeletons/."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from evoflash import resources
from evoflash.errors import NoPackageError
from evoflash.export import attention_package, function_package
from evoflash.export.call_times import Calls
from evoflash.export.content import Content
from evoflash.export.winner import MOST_KERNELS, Winner
from evoflash.problems import FunctionProblem, Problem
from evoflash.problems.attention import AttentionProblem
from evoflash.targets import cpu, cuda, nvrtc
from evoflash.version import __version__

# The file, inside the package, by which an earlier export is known.
MARKER = "provenance.json"

# Path in the distribution -> skeleton, where {name} is the package's: of all packages, and of those that are built.
SKELETONS = {"pyproject.toml": "pyproject.toml.j2"}
BUILT_SKELETONS = {"{name}/_build.py": "build.py.j2"}
# By the kind of problem, of kernels that are built, and of those in Python.
CONTENTS = {AttentionProblem.kind: attention_package.CONTENT, FunctionProblem.kind: function_package.CONTENT}
PYTHON_CONTENTS = {FunctionProblem.kind: function_package.PYTHON_CONTENT}
SUMS = "SHA256SUMS"
SWEEP = "{name}/sweep.py"  # of kinds whose packages can measure where a kernel pays
BINDING = "binding.cpp"  # the operators
INTERFACE = "evoflash.h"  # the C interface of all kernels
TABLE = "kernels.json"
STEMS = ("kernel", *(f"kernel_{number}" for number in range(2, MOST_KERNELS + 1)))
KERNELS = tuple(f"{stem}.{suffix}" for suffix in ("cpp", "cu", "py") for stem in STEMS)
RESULTS = "sweep.json"
PLOT = "speed.svg"  # beside the README
PLOT_WIDTH, LABEL_WIDTH, BAR_HEIGHT = 640, 130, 26  # pixels
PREBUILT = (*(f"prebuilt/{stem}.so" for stem in (*STEMS, "binding")), "prebuilt/prebuilt.json")
VERBATIM = (*KERNELS, *PREBUILT, "_nvrtc.py", "py.typed", BINDING, INTERFACE, TABLE, RESULTS, MARKER, SUMS)


def paths(name: str) -> frozenset[str]:
    """Every path that an export of this package name can write."""
    inside = [*VERBATIM]
    rendered = [*SKELETONS, *BUILT_SKELETONS]
    for content in (*CONTENTS.values(), *PYTHON_CONTENTS.values()):
        rendered += content.skeletons
        inside += [*map(_file_name, content.headers), *content.verbatim_names]
    return frozenset({PLOT, *(path.format(name=name) for path in rendered), *(f"{name}/{file}" for file in inside)})


def content_of(problem: Problem, *, is_python: bool) -> Content:
    """What packages have that are for a problem.

    Args:
        is_python: whether the kernels are Python modules.

    Raises:
        NoPackageError: for kernels that no package can ask.
    """
    of_kind = PYTHON_CONTENTS if is_python else CONTENTS
    if problem.kind not in of_kind:
        kernel = "a Python kernel" if is_python else "a kernel"
        raise NoPackageError(
            f"no package is written for {kernel} for {problem.computes}; `evoflash show CANDIDATE --source` has it"
        )
    content = of_kind[problem.kind]
    unsaid = [name for name in problem.features if name in content.unsaid]
    if unsaid:
        raise NoPackageError(
            f"no package is written, since none asks kernels for {', '.join(unsaid)} yet; "
            "`evoflash show CANDIDATE --source` has the kernel"
        )
    return content


def files(winner: Winner) -> dict[str, str]:
    """Path in the distribution -> text; the same winner gives the same texts.

    Raises:
        NoPackageError: for a kernel that no package can ask.
    """
    content = content_of(winner.problem, is_python=winner.language == "python")
    context = _context(winner, content)
    environment = _environment()
    skeletons = {**SKELETONS, **content.skeletons, **(BUILT_SKELETONS if content.binding is not None else {})}
    copied = [*content.headers]
    if content.binding is not None and content.binding.endswith(".j2"):
        skeletons[f"{{name}}/{BINDING}"] = content.binding
    elif content.binding is not None:
        copied.append(content.binding)
    package = {
        path.format(name=winner.name): environment.get_template(skeleton).render(context)
        for path, skeleton in skeletons.items()
    }
    package |= {
        **{f"{winner.name}/{name}": kernel.source for name, kernel in winner.sources.items()},
        **{f"{winner.name}/{_file_name(each)}": (_skeletons() / each).read_text(encoding="utf-8") for each in copied},
        **{f"{winner.name}/{name}": text for name, text in content.verbatim(winner).items()},
        f"{winner.name}/{TABLE}": json.dumps(content.table(winner), indent=2) + "\n",
        f"{winner.name}/{MARKER}": json.dumps(context["record"], indent=2) + "\n",
        f"{winner.name}/py.typed": "",
    }
    if content.binding is not None:
        package[f"{winner.name}/{INTERFACE}"] = interface()
    if winner.language == "cuda":  # the compiler of the search, so that the machine code is that of the finals
        package[f"{winner.name}/_nvrtc.py"] = Path(nvrtc.__file__).read_text(encoding="utf-8")
    if context["bars"]:
        package[PLOT] = environment.get_template(f"{PLOT}.j2").render(context)
    if winner.sweep is not None:
        package[f"{winner.name}/{RESULTS}"] = json.dumps(winner.sweep, indent=1) + "\n"
    return {**package, f"{winner.name}/{SUMS}": _sums(package, f"{winner.name}/")}


def interface() -> str:
    """The header that all kernels include."""
    return (resources.shipped() / "templates" / "include" / INTERFACE).read_text(encoding="utf-8")


def _file_name(path: str) -> str:
    return path.rpartition("/")[2]


def _sums(texts: Mapping[str, str], folder: str) -> str:
    """The hashes of a folder's files, as `sha256sum --check` reads them, but for the table, which is to be edited."""
    edited = {f"{folder}{name}" for name in (TABLE, RESULTS)}
    inside = {
        path.removeprefix(folder): text
        for path, text in texts.items()
        if path.startswith(folder) and path not in edited
    }
    return "".join(f"{hashlib.sha256(text.encode()).hexdigest()}  {path}\n" for path, text in sorted(inside.items()))


def _skeletons() -> Path:
    return Path(str(importlib.resources.files("evoflash.export"))) / "skeletons"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_skeletons()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["literal"] = json.dumps
    environment.filters["python"] = _python
    environment.filters["names"] = lambda each: tuple(
        one["name"] if isinstance(one, dict) else one.name for one in each
    )
    return environment


def _python(value: Any) -> str:
    """A plain value as Python has it, with double quotes."""
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_python(name)}: {_python(each)}' for name, each in value.items())}}}"
    if isinstance(value, tuple | list):
        inside = ", ".join(map(_python, value)) + ("," if isinstance(value, tuple) and len(value) == 1 else "")
        return f"({inside})" if isinstance(value, tuple) else f"[{inside}]"
    return repr(value)


def _context(winner: Winner, content: Content) -> dict[str, Any]:
    """What the skeletons read."""
    problem = winner.problem
    bars = _bars(winner.provenance.get("finals") or {})
    return {
        "name": winner.name,
        "distribution": winner.name.replace("_", "-"),
        "version": f"1.0.0+{winner.source_sha256[:8]}",
        "is_built": content.binding is not None,
        "headers": [INTERFACE, *map(_file_name, content.headers), *_headers(content.verbatim(winner))]
        if content.binding is not None
        else [],
        "not_ours": [],
        "is_direct": any(_file_name(each) == "direct.h" for each in content.headers),
        "strict": f"{winner.name.upper()}_STRICT",
        "family": winner.family,
        "cuda": winner.target == "cuda",
        "device": winner.target,
        "sources": winner.sources,
        "sweep": winner.sweep,
        "prebuilt": winner.prebuilt,
        "source_name": winner.source_name,
        "arch": _arch(winner),
        "capability": divmod(winner.arch, 10) if winner.arch is not None else (),
        "cpu_flags": cpu.CPU_FLAGS,
        "cubin_flags": cuda.CUBIN_FLAGS,
        "nvrtc_flags": cuda.NVRTC_FLAGS,
        "launcher_flags": cuda.PACKAGED_LAUNCHER_FLAGS,
        "problem": problem,
        "evoflash_version": winner.provenance.get("evoflash", __version__),
        "facts": _plain(winner.provenance),
        "machine": _plain(winner.provenance.get("machine") or {}),
        "generations": len(winner.provenance.get("lineage") or ()),
        "finals": _finals(winner.provenance.get("finals") or {}, content)
        + _calls(winner.provenance.get("calls") or {}),
        "bars": bars,
        "width": PLOT_WIDTH,
        "height": BAR_HEIGHT * len(bars) + 8,
        "label_width": LABEL_WIDTH,
        "cases": winner.cases,
        "genome": winner.genome,
        "record": _record(winner),
        **content.context(winner),
    }


def _arch(winner: Winner) -> str:
    """What the devices are called that run the kernel; Python kernels are compiled for theirs."""
    if winner.arch is None:
        return ""
    return f"sm_{winner.arch}" if winner.language == "python" else cuda.flag(winner.arch)


def _headers(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.endswith(".h")]


def _record(winner: Winner) -> dict[str, Any]:
    """Where the kernels come from, sorted by name; only a problem's fields are in its own order."""
    others = [_other(*each) for each in list(winner.sources.items())[1:]]
    facts = {
        **winner.provenance,
        "name": winner.name,
        "family": winner.family,
        "genome": winner.genome,
        "target": winner.target,
        "arch": winner.arch,
        "cases": list(winner.cases),
        "source": winner.source_name,
        "source_sha256": winner.source_sha256,
        **({"others": others} if others else {}),
    }
    plain = json.loads(json.dumps(facts, sort_keys=True))
    return dict(
        sorted({**plain, "problem": {"kind": winner.problem.kind, **winner.problem.model_dump(mode="json")}}.items())
    )


def _bars(finals: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The bars of the plot, from a dumped `evoflash.core.finals.Final`: the kernel, then baselines by their times.

    Baselines more than 20 times as slow would leave no room for the others.
    """
    ratios = {name: each["value"] for name, each in (finals.get("ratios") or {}).items() if each["value"] < 20}
    if not ratios:
        return []
    shown = [("this kernel", 1.0), *sorted(ratios.items(), key=lambda each: each[1])]
    room = (PLOT_WIDTH - LABEL_WIDTH - 60) / max(ratio for _, ratio in shown)
    return [
        {"name": name, "ratio": ratio, "y": 4 + BAR_HEIGHT * row, "width": round(room * ratio, 1)}
        for row, (name, ratio) in enumerate(shown)
    ]


def _other(source: str, kernel: Winner) -> dict[str, Any]:
    """Where a further kernel of the package comes from."""
    facts = {"family": kernel.family, "genome": kernel.genome, "cases": list(kernel.cases), "source": source}
    return {**kernel.provenance, **facts, "source_sha256": kernel.source_sha256}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that a table can show."""
    return {key: value for key, value in values.items() if isinstance(value, str | int | float)}


def _calls(calls: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lines of the same table, from a dumped `evoflash.export.calls.Calls`."""
    if not calls:
        return []
    found = Calls.model_validate(calls)
    ratio, low, high = found.ratio
    lines = [(f"a call of `{name}` from Python", f"{us:.2f} µs") for name, us in found.us.items()]
    against = f"a call of `{next(iter(found.us))}` against {found.rival}"
    return [*lines, (against, f"{ratio:.2f}× (quartiles {low:.2f} to {high:.2f})")]


def _finals(finals: Mapping[str, Any], content: Content) -> list[tuple[str, str]]:
    """Lines of the README's table of speeds, from a dumped `evoflash.core.finals.Final`; what is absent is left out."""
    time = finals.get("time") or finals
    quantiles = [key for key in ("p50_us", "p90_us", "p99_us") if time.get(key)]
    lines = [(f"{key[:3]} of a launch", f"{time[key]:.2f} µs") for key in quantiles]
    rival = finals.get("best_baseline") or "the fastest baseline"
    for key, label in (("vs_best", f"against {rival}"), ("vs_math", f"against {content.plain}")):
        ratio = finals.get(key)
        if isinstance(ratio, Mapping):
            lines.append((label, f"{ratio['value']:.2f}× (95 % interval {ratio['low']:.2f} to {ratio['high']:.2f})"))
        elif ratio:
            lines.append((label, f"{ratio:.2f}×"))
    accuracy = [each for each in finals.get("accuracy") or () if isinstance(each, Mapping)]
    if accuracy:
        worst = max(accuracy, key=lambda each: each["max_error"])
        beside = f"{content.yardstick}'s there: {worst['sdpa_max_error']:.2e}; {worst['case']}"
        lines.append(("largest error, all cases", f"{worst['max_error']:.2e} ({beside})"))
    return lines
