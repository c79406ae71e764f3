"""Rules on imports that `.importlinter` does not check."""

import graphlib
import subprocess
import sys

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
