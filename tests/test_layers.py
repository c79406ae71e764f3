"""What `.importlinter` cannot hold: importing the search must not cost what only a worker needs."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["evoflash.search", "evoflash.cli.main"])
def test_the_driver_starts_without_torch(module):
    code = f"import sys, {module}; print(sorted({{'torch', 'evoflash.worker'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    assert found.stdout.strip() == "[]"
