"""A file that cannot be searched is refused before the first build: one line that names it, and says what to do."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from evoflash import targets
from evoflash.cli.main import app
from evoflash.errors import UsageError
from evoflash.problems.c_interface.words import RESERVED
from tests.problems.files import Describer, describer

ROOT = Path(__file__).parents[2]

TASK = """\
import torch

def task(x: torch.Tensor, factor: float = 2.0):
    return x * factor

def get_inputs(rows: int = 4, columns: int = 8):
    return torch.randn(rows, columns)
"""

COUNTING = """\
import torch
calls = 0

def task(x: torch.Tensor):
    global calls
    calls += 1
    return {answer}

def get_inputs(rows: int = 4):
    return torch.randn(rows, 4)
"""

MODULE = """\
import torch

class Model({base}):
    def __init__(self, features):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(features))

    def forward(self, x):
        return x * self.weight

features = 4

def get_inputs():
    return [torch.randn(2, features)]

def get_init_inputs():
    return [{arguments}]
"""


@pytest.fixture(scope="module")
def describe():
    with describer() as made:
        yield made


def refusal(describe: Describer, source: str, **changes) -> str:
    with pytest.raises(UsageError) as caught:
        describe(source, **changes)
    words = str(caught.value)
    assert "\n" not in words
    assert words.startswith(changes.get("file", "task.py"))
    assert caught.value.exit_code == 2
    return words


def changed(old: str, new: str) -> str:
    assert TASK.count(old) == 1
    return TASK.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("return x * factor", 'raise ValueError("no such\\nfactor")', "task.py:4: ValueError: no such; mend the file"),
        ("return x * factor", "assert factor > 3\n    return x", "task.py:4: AssertionError; mend"),
        ("return torch.randn(", "return torch.rand_n(", "task.py:7: AttributeError: "),
        ("import torch\n", "import torch, no_such_package\n", "task.py:1: ModuleNotFoundError: No module named"),
        ("return x *", "return x * * 2", "task.py:4: invalid syntax; mend the file"),
        ("return x * factor", "return x * rand_like(x)", "task.py:4: NameError: name 'rand_like' is not defined"),
        ("return x * factor", "return x * torch.rand_like(x)", "two calls on the same inputs differ"),
        ("columns)", "torch.randint(1, 99, ()))", "get_inputs returns other shapes or types under another seed"),
        ("return x * factor", "return task(x)", "task.py:4: RecursionError: maximum recursion depth exceeded"),
        ("return x * factor", "import sys; sys.exit(3)", "task.py:4: SystemExit: 3; mend the file"),
        ("return x * factor", "x.mul_(factor)\n    return x + 1", "the function changes x in place; return a new"),
        ("return x * factor", "return x.sum().item()", "the function returns float; return a tensor, or several"),
        ("return x * factor", "return None", "the function returns NoneType; return a tensor"),
        ("return x * factor", "return ()", "the function returns nothing; return a tensor"),
        ("return x * factor", "return x[:0]", "out has no elements; choose other sizes"),
        ("return x * factor", "return x.to(torch.complex64)", "out is of complex64; kernels take float64, float32"),
        ("return x * factor", "return x.view(4, *(1,) * 6, 8)", "out has 8 dimensions; kernels take up to 6"),
        ("return torch.randn(rows, columns)", "return torch.randn(rows, columns), 3.0, 4", "returns 3 values for 2"),
        ("return torch.randn(rows, columns)", "return ()", "get_inputs returns nothing for x, which has no default"),
        ("return torch.randn(rows, columns)", "return [[1.0]]", "x is a list; arguments are tensors, numbers, text"),
        ("rows: int = 4", "rows", "get_inputs needs a default for rows; it is the size that is searched"),
        ("rows: int = 4", "rows=(4,)", "get_inputs: rows is no number or text; make its default one"),
        ("get_inputs", "inputs", "task.py has no function get_inputs; write one that returns the arguments"),
        ("def task(", "def _task(", "must define one public function, or a class Model, and has none; name one task"),
        ("x: torch.Tensor, ", "*x: torch.Tensor, ", "task takes *args or **kwargs; name its parameters"),
        ("factor: float = 2.0):\n    return x * factor", "double: float = 2.0):\n    return x", "'double' cannot be a"),
        ("x: torch.Tensor, factor: float = 2.0):\n    return x *", "out, factor=2.0):\n    return out *", "names two"),
    ],
)  # fmt: skip
def test_what_a_file_may_not_do(describe, old, new, words):
    assert words in refusal(describe, changed(old, new))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("cases = 3", "cases is no list of sizes; write dicts, such as [{'rows': 16}]"),
        ("cases = [{'rows': 2}, 7]", "cases is no list of sizes"),
        ("cases = [{'depth': 2}]", "cases: there is no size 'depth'; it has rows, columns, factor"),
        ("cases = [{'rows': 0}]", "x has no elements; choose other sizes; this is at rows=0: change cases"),
        ("cases = [{'rows': -1}]", "task.py:7: RuntimeError: "),
        ("cases = [{'rows': 'many'}]", "cases: rows is 'many'; write a value of type int"),
        ("vary = ['rows']", "vary is no dict of ranges or lists of sizes; write one, such as {'rows': range(1, 300)}"),
        ("vary = {'rows': 9}", "vary is no dict of ranges"),
        ("vary = {'rows': []}", "vary is no dict of ranges"),
        ("vary = {'depth': range(3)}", "vary: there is no size 'depth'"),
        ("vary = {'rows': [-3]}", "this is at rows=-3: change vary, or mend the file"),
        ("tolerance = 'small'", "tolerance of out is 'small'; write the absolute error that is allowed"),
        ("tolerance = {'out': -1}", "tolerance of out is -1; write"),
        ("tolerance = {'result': 1.0}", "tolerance names 'result'; the outputs are out"),
        ("mutates = 'x'", "mutates is 'x'; write the names of what is updated in place, such as (\"x\",)"),
        ("mutates = ('y',)", "mutates names 'y'; the tensors are x"),
        ("mutates = ('x',)", "mutates names x, which a call leaves as it was; leave it out, or update it in place"),
        ("layouts = 'strided'", "layouts is 'strided'; write a tuple of some of contiguous, strided, unaligned"),
        ("layouts = ('odd',)", "layouts is ('odd',); write"),
        ("flops = 8", "flops is no function; write one of sizes, such as def flops(rows, columns)"),
        ("flops = lambda rows: 'many'", "flops returns 'many'; return a positive number of operations"),
        ("flops = lambda depth: 8", "takes depth; it may take sizes only"),
        ("def other(x): return x\n\ndef another(x): return x", "must define one public function"),
        ("import random\nfrom os import *\ndef task(x): return x / 0", "task.py:11: ZeroDivisionError"),
    ],
)
def test_what_it_may_not_say(describe, line, words):
    source = TASK if "another" not in line else changed("def task(", "def first(")
    if "x / 0" in line:
        line = line.replace("x / 0", "x * (1 / 0)")
    assert words in refusal(describe, f"{source}\n{line}\n")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("x[: calls % 3]", "two calls on the same inputs return other shapes or types"),
        ("x[: 1 + (calls > 2)]", "in float64 out has the shape (2, 4), not (1, 4)"),
        ("x if calls < 3 else x.no_such", "this is the function in float64, with which kernels are compared"),
    ],
)
def test_other_answers_by_call(describe, answer, words):
    assert words in refusal(describe, COUNTING.format(answer=answer))


@pytest.mark.parametrize(
    ("base", "arguments", "words"),
    [
        ("object", "features", "Model is no torch.nn.Module; make it one, or rename it"),
        ("torch.nn.Module", "", "TypeError: Model.__init__() missing 1 required positional argument: 'features'"),
        ("torch.nn.Module", "features + 1", "task.py:9: RuntimeError: The size of tensor a (4) must match"),
        ("torch.nn.Module", "features + 1j", "task.py:6: TypeError: "),
    ],
)
def test_a_module(describe, base, arguments, words):
    assert words in refusal(describe, MODULE.format(base=base, arguments=arguments))


def test_what_is_updated_in_place_is_not_returned_too(describe):
    source = changed("return x * factor", "return x.mul_(factor)")
    assert "the function changes x in place; return a new tensor instead, or declare it" in refusal(describe, source)
    words = refusal(describe, f'{source}\nmutates = ("x",)\n')
    assert "the function returns x, which it updates in place; return None" in words
    assert describe(f'{source.replace("return x", "x")}\nmutates = ["x"]\n').interface.returns == "none"


def test_sizes_on_the_command_line(describe):
    assert "--shape: there is no size 'depth'; it has rows, columns, factor" in refusal(describe, TASK, depth=3)
    assert "--shape: rows is 'many'; write a value of type int" in refusal(describe, TASK, rows="many")
    assert "x has no elements; choose other sizes" in refusal(describe, TASK, rows=0)
    small = describe(TASK, rows=3, factor=0.5)
    assert small.facts()["x_0"] == 3
    assert small.facts()["factor"] == 0.5


@pytest.mark.skipif(targets.why_not_cuda() is None, reason="there is a GPU")
def test_a_gpu_that_is_not_there(describe):
    for old, new in (("columns)", "columns).cuda()"), ("columns)", 'columns, device="cuda")')):
        words = refusal(describe, changed(old, new))
        assert words.startswith("task.py:7: ")
        assert words.endswith("there is no GPU here: make tensors on the CPU, evoflash moves them to the device")


@pytest.mark.parametrize("file", ["evoflash.py", "math.py", "attention.py"])
def test_names_of_other_headers(describe, file):
    words = refusal(describe, changed("def task(", f"def {file.removesuffix('.py')}("), file=file)
    assert "is another header; rename the function and the file" in words


def test_every_header_that_ships_is_reserved():
    shipped = {each.stem for each in (ROOT / "templates" / "include").glob("*.h")}
    assert shipped <= RESERVED | {each.stem for each in (ROOT / "problems").glob("*.py")}


def test_what_is_allowed(describe):
    talkative = changed("    return x * factor", "    print('x' * 100_000)\n    return x * factor")
    assert describe(talkative).name == "task"
    assert describe(f"import evoflash\n{TASK}").name == "task"
    assert describe(TASK, file="24_Task.py").name == "task"
    assert (
        describe(MODULE.format(base="torch.nn.Module", arguments="features"), file="24_Task.py").name
        == "problem_24_task"
    )


def test_a_file_that_ends_its_process_and_a_slow_function(describe):
    leaving = refusal(describe, changed("import torch\n", "import torch, os\nos._exit(3)\n"))
    assert leaving.startswith("task.py ends its process: exit code 3 while running task.py")
    source = changed("return x * factor", "while True: pass")
    words = refusal(describe, source, deadline_s=0.5)
    assert words == (
        "task.py has not finished after 0.5 s; choose smaller sizes with --shape, or make its function and get_inputs "
        "faster"
    )


def test_the_command_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.py").write_text(changed("return x * factor", 'raise ValueError("no")'))
    result = CliRunner().invoke(app, ["search", "--problem", "task.py", "--target", "cpu", "--db", "runs.db"])
    assert result.exit_code == 2
    assert result.stdout == ""
    words = "evoflash: task.py:4: ValueError: no; mend the file, or choose other sizes by --shape\n"
    assert result.stderr == words
    missing = CliRunner().invoke(app, ["search", "--problem", "other.py", "--target", "cpu"])
    assert (missing.exit_code, missing.stderr) == (2, "evoflash: there is no file other.py; check the path\n")
    assert [each.name for each in tmp_path.iterdir()] == ["task.py"]
