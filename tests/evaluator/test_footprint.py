"""A problem too large for memory is refused before anything is built, with its sizes; and what memory there is."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from evoflash import targets
from evoflash.cli.search import search
from evoflash.cli.verify import verify
from evoflash.errors import UsageError
from evoflash.evaluator.footprint import require_memory
from evoflash.problems.attention import AttentionProblem
from evoflash.problems.function.description import describe
from evoflash.problems.function.source_file import ProblemError
from evoflash.system import memory

WORDS = (
    r"64x64x1000000x128 float16 needs 7.63 TiB: 2.86 TiB of inputs, 977 GiB of outputs and 3.81 TiB of their reference "
    r"in float64; this machine has .* free; take a smaller shape, or free memory"
)


@pytest.mark.parametrize("command", [search, verify])
def test_a_problem_too_large_is_a_usage_error_before_any_build(command, tmp_path: Path):
    app = typer.Typer()
    app.command()(command)
    options = ["--shape", "b=64,h=64,s=1000000,d=128", "--target", "cpu", "--db", str(tmp_path / "runs.db")]
    options += ["--cache", str(tmp_path / "builds")]
    outcome = CliRunner().invoke(app, [*(["cpu_flash"] if command is verify else []), *options])
    assert isinstance(outcome.exception, UsageError)
    with pytest.raises(UsageError, match=WORDS):
        raise outcome.exception
    assert list(tmp_path.iterdir()) == []


def test_what_just_fits_is_let_through(monkeypatch: pytest.MonkeyPatch):
    target = targets.detect("cpu")
    problem = AttentionProblem.of(1, 1, 16, 8, dtype="float32")  # 3 inputs and an output of 512 bytes, and 1,024 bytes
    monkeypatch.setattr(memory, "free_bytes", lambda: 3 * 512 + 512 + 1024)
    require_memory(problem, target)
    monkeypatch.setattr(memory, "free_bytes", lambda: 3 * 512 + 512 + 1023)
    with pytest.raises(UsageError, match=r"needs 3 KiB: 1.5 KiB of inputs, 512 bytes of outputs and 1 KiB"):
        require_memory(problem, target)


def test_a_function_that_finds_no_memory_says_so():
    file = "import torch\ndef f(x):\n    return x\ndef get_inputs():\n    return (torch.empty(2**50),)\n"
    with pytest.raises(
        ProblemError, match=r"f.py: there is no memory for these sizes \(a tensor of \d+ bytes\); choose"
    ):
        describe("f.py", file, {}, "cpu")


@pytest.mark.parametrize(
    ("group", "names", "cached"),
    [
        ("0::/own/inner\n", ("memory.max", "memory.current"), "inactive_file"),
        (
            "4:memory,cpu:/own\n2:pids:/other\n",
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            "total_inactive_file",
        ),
    ],
)
def test_the_limit_of_a_control_group_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group, names, cached):
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    monkeypatch.setattr(memory, "OWN_GROUP", tmp_path / "own_group")
    before = memory.total_bytes(), memory.free_bytes()
    assert before[1] <= before[0]
    (tmp_path / "own_group").write_text(group)
    folder = tmp_path / "own" if "0::" in group else tmp_path / "memory" / "own"
    folder.mkdir(parents=True)
    for name, text in zip((*names, "memory.stat"), ("4096", "3000", f"anon 5\n{cached} 500\n"), strict=True):
        (folder / name).write_text(text)
    assert (memory.total_bytes(), memory.free_bytes()) == (4096, 4096 - 2500)
    (folder / names[0]).write_text("max")
    assert memory.total_bytes() == before[0]
