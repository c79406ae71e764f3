"""docs/python.md: its Python runs as printed, from the first block to the last, and so do its commands."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evoflash.api.prepared import PreparedSearch
from evoflash.cli.main import app
from tests.made_up import MadeUpEvaluator, MadeUpToolchain, made_up_search
from tests.store import runs

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"^    (evoflash .*)$", PAGE, re.MULTILINE)


def finals(self, finalists, rounds: int):
    """All but the last are right, and take any length."""
    made = runs.finals(*((each.index, 10.0 + number) for number, each in enumerate(finalists)))
    general = [each.model_copy(update={"accuracy": (runs.accuracy("65x4099"),)}) for each in made.finalists[:-1]]
    return made.model_copy(update={"finalists": (*general, made.finalists[-1])})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which the blocks have run, with results that are made up from the sources; and what they print."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("EVOFLASH_TARGET", "cpu")
        patch.delenv("EVOFLASH_DB", raising=False)
        patch.setattr(
            PreparedSearch,
            "search",
            lambda self, store, progress: made_up_search(
                self.plans, self.device, MadeUpToolchain(), store, progress, self.run_ids
            ),
        )
        patch.setattr(MadeUpEvaluator, "finals", finals)
        names: dict[str, object] = {}
        for block in BLOCKS:
            exec(compile(block, "docs/python.md", "exec"), names)
    return folder


def test_its_python_runs_as_printed(place):
    assert len(BLOCKS) >= 8
    assert (place / "fast_attention" / "fast_attention" / "__init__.py").is_file()
    assert (place / "runs" / "evoflash.db").is_file()


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_run_as_printed(place, monkeypatch, command):
    monkeypatch.chdir(place)
    monkeypatch.delenv("EVOFLASH_DB", raising=False)
    result = CliRunner().invoke(app, shlex.split(command)[1:])
    assert result.exit_code == 0, result.output
    assert result.stdout


def test_it_names_what_there_is():
    assert len(COMMANDS) == 4
    assert PAGE.count("```") == 2 * len(BLOCKS)
