"""Files of problems that tests have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evoflash.api.shapes import DESCRIPTION_S, described_by
from evoflash.evaluator.messages import Describe
from evoflash.evaluator.sandbox import Sandbox
from evoflash.problems import FunctionProblem

INTERFACE = Path(__file__).parents[2] / "templates" / "include"  # the folder of evoflash.h

SCALE = '''\
"""Scale and shift."""

from typing import NamedTuple

import torch


class Both(NamedTuple):
    scaled: torch.Tensor
    positive: torch.Tensor


def scale(x: torch.Tensor, weight: torch.Tensor, factor: float = 2.0, activation: str = "none") -> Both:
    out = x.float() * weight * factor
    if activation == "relu":
        out = out.relu()
    return Both(out.to(x.dtype), x > 0)


def get_inputs(rows: int = 6, columns: int = 16, dtype: str = "float32"):
    return torch.randn(rows, columns, dtype=getattr(torch, dtype)), torch.randn(columns)


vary = {"rows": range(1, 9), "columns": [8, 16, 24]}
cases = [{"rows": 1}, {"columns": 40}]
'''


@contextmanager
def describer() -> Iterator["Describer"]:
    """One worker for many files."""
    with Sandbox("cpu") as sandbox:
        yield Describer(sandbox)


class Describer:
    """Describes files in one worker."""

    def __init__(self, sandbox: Sandbox):
        self.sandbox = sandbox

    def __call__(
        self, source: str, file: str = "task.py", deadline_s: float = DESCRIPTION_S, **sizes
    ) -> FunctionProblem:
        request = Describe(file=file, source=source, sizes={name: str(value) for name, value in sizes.items()})
        problem = described_by(self.sandbox, request, deadline_s)
        assert isinstance(problem, FunctionProblem)
        return problem
