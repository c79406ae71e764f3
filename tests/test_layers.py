"""Rules on imports that `.importlinter` does not check."""

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import grimp
import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("module", ["evoflash.search", "evoflash.api", "evoflash.cli.main"])
def test_the_driver_starts_without_what_takes_long_to_load(module):
    heavy = {"torch", "plotly", "psycopg", "distributed", "evoflash.worker"}
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
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
    """`dev` is for those who change evoflash; what others install is imported in it, or used by its documentation."""
    imported = _imported()
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert {"optuna", "jinja2"} <= imported
    for extra, requirements in _project().get("optional-dependencies", {}).items():
        for requirement in requirements if extra != "dev" else ():
            package = _package(requirement)
            is_used = (
                package.removeprefix("mkdocs-") in site if extra == "docs" else package.replace("-", "_") in imported
            )
            assert is_used, f"the extra {extra} installs {package}, which nothing uses"


def test_the_documentation_names_no_extra_that_does_not_exist():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {each for page in pages for each in re.findall(r"(?:'\.|extra )\[([a-z]+)\]", page.read_text())}
    assert "dev" in named
    assert named <= set(_project()["optional-dependencies"])


def test_what_is_imported_is_installed_with_evoflash():
    """By its dependencies, or by an extra whose absence a message names."""
    project = _project()
    extras = [each for extra, names in project["optional-dependencies"].items() if extra != "dev" for each in names]
    installed = {_package(each) for each in (*project["dependencies"], *extras)}
    installed.add("pydantic-core")  # pydantic's other half
    providers = metadata.packages_distributions()
    for module in sorted(_imported() - set(sys.stdlib_module_names) - {"evoflash"}):
        assert {each.lower().replace("_", "-") for each in providers[module]} & installed, (
            f"{module} is imported, but no dependency"
        )


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _package(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9_-]", requirement)[0].lower()


def _imported() -> set[str]:
    """The first names of all modules that evoflash imports, also within functions."""
    imported = set()
    for file in (ROOT / "evoflash").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            imported |= {name.split(".")[0] for name in names}
    return imported
