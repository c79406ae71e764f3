"""`evoflash doctor`: what is there, what is missing, and the exit code."""

import json

import pytest
import typer
from typer.testing import CliRunner

from evoflash.cli import diagnostics
from evoflash.cli import doctor as command
from evoflash.cli.diagnostics import Check
from evoflash.errors import MissingError
from evoflash.evaluator.messages import Probed
from tests.cli.printed import printed

app = typer.Typer()
app.command()(command.doctor)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVOFLASH_DB", raising=False)
    return tmp_path


def call(*arguments: str):
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result


def checks_of(text: str) -> dict[str, dict]:
    return {each["name"]: each for each in json.loads(text)["checks"]}


def test_a_half_written_family_is_one_check(place):
    folder = place / "templates" / "begun"
    folder.mkdir(parents=True)
    (folder / "template.yaml").write_text("family: begun\n")
    document = printed("doctor", call("--target", "cpu", "--json").stdout)
    (check,) = [each for each in document["checks"] if each["name"] == "a family"]
    assert not check["ok"]
    assert "templates/begun/template.yaml is left out: " in check["found"]
    assert document["can_search"]


def test_a_machine_that_can_search(place):
    document = printed("doctor", call("--target", "cpu", "--json").stdout)
    checks = {each["name"]: each for each in document["checks"]}
    assert (document["target"], document["can_search"]) == ("cpu", True)
    for name in ("Python", "torch", "ninja", "C++ compiler", "OpenMP", "database", "runs folder", "evaluation worker"):
        assert checks[name]["state"] == "ok", checks[name]
    assert checks["OpenMP"]["found"].startswith("a program built and ran on")
    assert "torch" in checks["evaluation worker"]["found"]
    assert checks["family cpu_flash"]["state"] == "ok"
    assert (checks["family wmma"]["state"], checks["family wmma"]["need"]) == ("missing", "cuda")
    assert all(each["ok"] or each["fix"] for each in checks.values())
    assert list(place.iterdir()) == []  # it looks, and leaves nothing behind


def test_a_compiler_that_is_named_and_not_there(monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent")
    checks = {check.name: check for check in diagnostics.host_compiler()}
    assert checks["C++ compiler"].state == "missing"
    assert "/nonexistent" in checks["C++ compiler"].found


def test_no_compiler_at_all(monkeypatch, place):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(place))
    result = CliRunner().invoke(app, ["--target", "cpu", "--json"])
    checks = checks_of(result.stdout)
    assert (checks["C++ compiler"]["state"], checks["target"]["state"]) == ("missing", "missing")
    assert printed("doctor", result.stdout)["target"] is None
    assert isinstance(result.exception, MissingError)
    assert "apt-get install g++" in str(result.exception)
    assert result.exception.exit_code == 3


def test_a_compiler_without_openmp(monkeypatch, place):
    fake = place / "c++"
    fake.write_text(
        '#!/bin/sh\ncase "$*" in *--version*) echo fake 1.0;; *-fopenmp*) echo "error: no -fopenmp"; exit 1;; esac\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("CXX", str(fake))
    checks = {check.name: check for check in diagnostics.host_compiler()}
    assert checks["C++ compiler"].found == f"{fake}: fake 1.0"
    assert (checks["OpenMP"].ok, checks["OpenMP"].found) == (False, "a program failed: error: no -fopenmp")


def test_a_damaged_database_blocks(monkeypatch, place):
    (place / "runs").mkdir()
    (place / "runs" / "evoflash.db").write_text("no database " * 100)
    monkeypatch.setattr(diagnostics, "worker", lambda target, sandbox: Check("evaluation worker", "any", True, ""))
    monkeypatch.setattr(command, "_rivals", lambda target, sandbox: ((), Probed()))
    with pytest.raises(MissingError, match="no search can run here; database: restore it"):
        call("--target", "cpu")


def test_what_blocks():
    fits = Check("family f", "optional", True, "")
    no_gpu = Check("NVIDIA driver", "cuda", False, "", "install it")
    assert command._blocking([fits, no_gpu], "cpu") == []
    assert command._blocking([fits, no_gpu], "cuda") == [no_gpu]
    assert command._blocking([no_gpu], "cpu")[0].name == "families"


def test_plain_lines_say_what_to_do(monkeypatch):
    monkeypatch.setattr(diagnostics, "worker", lambda target, sandbox: Check("evaluation worker", "any", True, ""))
    monkeypatch.setattr(command, "_rivals", lambda target, sandbox: ((), Probed()))
    lacking = [Check("ncu", "optional", False, "not found", "install ncu with the CUDA toolkit")]
    monkeypatch.setattr(diagnostics, "cuda_tools", lambda arch: lacking)
    lines = call("--target", "cpu").stdout.splitlines()
    assert lines[-1] == "`evoflash search` can run here, on cpu"
    told = next(line for line in lines if line.startswith("  ncu"))
    assert "missing" in told
    assert "install ncu" in told
