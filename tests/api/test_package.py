"""`import evoflash`: few names, nothing loaded with them, and one name that is a function and a module."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import evoflash

ROOT = Path(__file__).parents[2]

# What each way to the two things called `search` must find, whichever was first.
WAYS = {
    "the function, then the module": "f = evoflash.search; from evoflash.search import Search",
    "the module, then the function": "import evoflash.search; from evoflash import search as f",
    "after the commands": "import evoflash.cli.main; f = evoflash.search",
}


def child(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, cwd=ROOT).stdout


def test_it_loads_nothing_but_itself():
    code = "import sys, evoflash, json; print(json.dumps(list(sys.modules)))"
    loaded = {name.partition(".")[0] for name in json.loads(child(code))}
    usual = set(json.loads(child("import sys, json; print(json.dumps(list(sys.modules)))")))
    assert loaded - usual - set(sys.stdlib_module_names) == {"evoflash"}


def test_what_it_is_used_for_needs_neither_torch_nor_pandas():
    code = "import sys, evoflash; evoflash.Run; print(sorted({'torch', 'pandas', 'plotly', 'optuna'} & {*sys.modules}))"
    assert child(code).strip() == "[]"


@pytest.mark.parametrize("way", WAYS)
def test_search_is_a_function_beside_the_module_of_its_name(way):
    code = f"import evoflash; {WAYS[way]}; from evoflash.search import Search; "
    code += "print(f.__name__, f.__module__, Search.__module__, evoflash.search is f)"
    assert child(code).split() == ["search", "evoflash.api.searching", "evoflash.search", "True"]


def test_its_names_are_few_and_have_an_example_each():
    assert evoflash.__all__ == ["Run", "open_run", "record", "search"]
    assert set(evoflash.__all__) <= set(dir(evoflash))
    public = [evoflash.search, evoflash.open_run, evoflash.record, evoflash.Run]
    frames = [getattr(evoflash.Run, name) for name in ("candidates", "evaluations", "samples", "lineage", "speed")]
    for each in (*public, *frames, evoflash.Run.export):
        assert "Example:" in (each.__doc__ or ""), each
        assert ">>>" in (each.__doc__ or ""), each
    with pytest.raises(AttributeError, match="no attribute 'serch'"):
        evoflash.serch  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.long  # pyright takes half a minute
def test_a_type_checker_sees_the_function_and_the_class(tmp_path):
    (tmp_path / "user.py").write_text(
        "import evoflash\n"
        "from evoflash.search import Search\n"
        "reveal_type(evoflash.search('mission', budget=3))\n"
        "reveal_type(evoflash.open_run().best.p50_us)\n"
        "reveal_type(Search.run)\n"
        "evoflash.search(7)\n"
    )
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)]}))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "user.py"]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=280).stdout)
    found = [(each["range"]["start"]["line"], each["severity"]) for each in said["generalDiagnostics"]]
    assert found == [(2, "information"), (3, "information"), (4, "information"), (5, "error")]
    words = [each["message"] for each in said["generalDiagnostics"]]
    assert 'is "Run"' in words[0]
    assert 'is "float | None"' in words[1]
    assert "list[Outcome]" in words[2]
