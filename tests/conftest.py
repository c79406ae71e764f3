"""What tests share: skipping, with the reason, what this machine cannot run."""

import compileall
import os
from pathlib import Path

import pytest

import evoflash
from evoflash.errors import MissingError
from evoflash.targets import cuda
from evoflash.targets.base import usable_cores

# Tests run beside each other: threads that spin while they wait would take the cores from those that compute.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _without_gpu() -> str | None:
    try:
        cuda.detect()
    except MissingError as error:
        return str(error)
    return None


def _without_nvcc() -> str | None:
    try:
        cuda.nvcc()
    except MissingError as error:
        return str(error)
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Hundreds of processes import evoflash; where PYTHONDONTWRITEBYTECODE is set, each would compile it again."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(Path(evoflash.__file__).parent, quiet=2)


def pytest_xdist_auto_num_workers() -> int:
    """One more than cores, for `pytest -n auto`: of a test's time, a fifth is waiting for deadlines and processes."""
    return usable_cores() + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons = {"gpu": _without_gpu(), "nvcc": _without_nvcc()}
    for item in items:
        for marker, reason in reasons.items():
            if reason is not None and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=f"{marker}: {reason}"))
