"""Rules on imports that `.importlinter` does not check."""

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest


@pytest.mark.parametrize("module", ["evoflash.search", "evoflash.cli.main"])
def test_the_driver_starts_without_torch(module):
    code = f"import sys, {module}; print(sorted({{'torch', 'evoflash.worker'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    assert found.stdout.strip() == "[]"


def test_no_modules_import_each_other():
    """Imports for type checking count, too: two modules that need each other cannot be read one after the other."""
    graph = grimp.build_graph("evoflash", cache_dir=None, exclude_type_checking_imports=False)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 100
    order = list(graphlib.TopologicalSorter(imports).static_order())  # raises CycleError, which names the modules
    assert order.index("evoflash.errors") < order.index("evoflash.search")


def test_an_extra_exists_only_with_what_uses_it():
    """`dev` is for those who change evoflash; every other extra must be imported somewhere in it."""
    root = Path(__file__).parents[1]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"].get("optional-dependencies", {})
    imported = set()
    for file in (root / "evoflash").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            imported |= {name.split(".")[0] for name in names}
    assert {"optuna", "jinja2"} <= imported
    for extra, requirements in extras.items():
        for requirement in requirements if extra != "dev" else ():
            package = re.split(r"[^A-Za-z0-9_-]", requirement)[0].replace("-", "_").lower()
            assert package in imported, f"the extra {extra} installs {package}, which nothing imports"
