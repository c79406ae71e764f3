"""What is given in place of a family: each mistake gets the command that takes it."""

import json

import pytest
from typer.testing import CliRunner

from evoflash.cli.main import app
from evoflash.export.package import write
from tests.export.conftest import cpu_winner
from tests.helpers import TINY

KERNELBENCH = "import torch\n\nclass Model(torch.nn.Module): ...\n\ndef get_inputs(): ...\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "problem.py").write_text(KERNELBENCH)
    (tmp_path / "mymod.py").write_text("def attention(q, k, v): ...\n")
    (tmp_path / "kernel.cu").write_text("// a kernel\n")
    (tmp_path / "t4.json").write_text(json.dumps({"schema_version": "1.0.0", "results": []}))
    (tmp_path / "t1.json.gz").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("none")
    write(cpu_winner("exported_plain"), tmp_path / "exported")
    return tmp_path


SAID = {
    "problem.py": "is a problem, not a family; search kernels for it by `evoflash search --problem problem.py`",
    "./problem.py": "write a family for it by `evoflash new family NAME --problem ./problem.py`",
    "mymod.py": "check a function of it by `evoflash verify mymod:FUNCTION`",
    "kernel.cu": "is a source file, not a family; check it by `evoflash verify kernel.cu`",
    "t4.json": "compare strategies on it by `evoflash replay t4.json`",
    "t1.json.gz": "compare strategies on it by `evoflash replay t1.json.gz`",
    "empty/notes.txt": "is a file, not a family",
    "nowhere.py": "there is no file nowhere.py; check the path",
}


def refusal(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 2, result.output
    return result.stderr


@pytest.mark.parametrize("command", [["search", "--family"], ["build"], ["render"], ["bench", "--kernel"], ["verify"]])
@pytest.mark.parametrize(("path", "words"), SAID.items())
def test_a_file_is_no_family(place, command, path, words):
    if command == ["verify"] and path == "kernel.cu":
        pytest.skip("verify takes it")
    assert words in refusal(*command, path)


@pytest.mark.parametrize("command", [["search", "--family"], ["build"], ["render"]])
def test_a_folder_is_no_family(place, command):
    assert "empty is a folder, not a family" in refusal(*command, "empty")
    assert "time it by `evoflash bench --kernel exported`" in refusal(*command, "exported")
    family = str(TINY / "templates" / "tiny")
    assert "name it tiny, with --templates" in refusal(*command, family)


@pytest.mark.parametrize("command", [["search"], ["templates", "list"], ["render", "cpu_flash"], ["bench"], ["doctor"]])
def test_templates_are_in_a_folder(place, command):
    assert "problem.py is a problem, not a family" in refusal(*command, "--templates", "problem.py")
    assert "--templates empty has no templates/, search_spaces/ or configs/ in it" in refusal(
        *command, "--templates", "empty"
    )
    assert "--templates absent has no templates/" in refusal(*command, "--templates", "absent")


def test_a_function_is_of_a_module(place):
    assert "write module:function, here mymod:attention" in refusal("verify", "mymod.py:attention")
    assert "check it by `evoflash verify mymod:attention`" in refusal("bench", "--kernel", "mymod:attention")


def test_a_folder_that_is_named_like_a_family_does_not_hide_it(place):
    (place / "cpu_flash").mkdir()
    assert CliRunner().invoke(app, ["render", "cpu_flash"]).exit_code == 0
