"""Commands that are printed in README, docs/ and `--help` have the subcommands, options and values that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from evoflash.cli.main import app
from tests.docs import printed

BLOCKS = [each for page in printed.PAGES for each in printed.commands(page)]
INLINE = [each for page in printed.PAGES for each in printed.inline(page)]
GROUP = typer.main.get_command(app)


def parse(words: list[str]) -> Any:
    """The command that these words call, with their options parsed.

    Raises:
        click.UsageError: for words that it does not take.
    """
    command: Any = GROUP
    context = command.make_context("evoflash", list(words))
    while isinstance(command, TyperGroup):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        context = command.make_context(name, rest, parent=context)
    return command


def leaves(group: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """All commands with their names from the root."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, each in group.commands.items():
        here = (*path, name)
        found += leaves(each, here) if isinstance(each, TyperGroup) else [(here, each)]
    return found


def test_the_pages_print_commands():
    assert len(BLOCKS) > 60
    assert len(INLINE) > 10


@pytest.mark.parametrize("command", [each for each in BLOCKS if each.words[0] == "evoflash"], ids=str)
def test_a_command_parses(command):
    assert parse(command.words[1:]) is not None


@pytest.mark.parametrize("command", INLINE, ids=str)
def test_a_mentioned_command_has_its_options(command):
    here: Any = GROUP
    words = command.words[1:]
    while isinstance(here, TyperGroup) and words and not words[0].startswith("-"):
        here = here.commands[words.pop(0)]
    known = {option for each in here.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("command", [each for each in BLOCKS if each.words[0] == "python"], ids=str)
def test_a_program_exists(command):
    words = command.words[1:]
    module = words[1].replace(".", "/") + ".py" if words[0] == "-m" else words[0]
    is_package = words[0] == "-m" and words[1].partition(".")[0] not in ("tests", "evoflash")  # an export's, a tool's
    assert is_package or (printed.ROOT / Path(module)).is_file()


@pytest.mark.parametrize(
    ("path", "command"), leaves(GROUP), ids=lambda each: " ".join(each) if isinstance(each, tuple) else ""
)
def test_help_ends_with_an_example_that_parses(path, command):
    begin, _, example = (command.epilog or "").partition("Example: ")
    words = printed.Command(printed.ROOT, 0, example).words
    assert begin == ""
    assert words[: 1 + len(path)] == ["evoflash", *path]
    assert parse(words[1:]) is not None
