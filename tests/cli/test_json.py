"""What `--json` prints: one object that its schema describes, on standard output alone, and the page that says so."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from evoflash import targets
from evoflash.cli.main import app
from evoflash.store import RunStore
from tests import json_page
from tests.cli.printed import printed
from tests.cli.test_export import TAKES
from tests.helpers import BROKEN, SHAPE, TINY, plan
from tests.store import runs

PAGE = Path(__file__).parents[2] / "docs" / "json.md"
FAMILY = ("tiny", "--templates", str(TINY), "--shape", SHAPE)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run whose winner can be exported."""
    folder = tmp_path_factory.mktemp("json")
    wanted = plan(targets.detect("cpu"), "tiny", TINY)
    with RunStore.open(str(folder / "runs.db"), write=True) as store:
        store.form_group([runs.small_run(store)])
        run = runs.begin(store, plan=wanted.model_dump(mode="json"), problem=wanted.shapes[0].problem)
        store.record(run, runs.candidate(0), runs.ok(10.0), runs.source(99) + TAKES, "c++")
        store.finish_run(run, status="done", reason="the budget is spent", elapsed_s=1.0)
    (folder / "space.csv").write_text("x,time_ms\n1,2.0\n2,1.0\n3,4.0\n")
    return folder


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("runs list", ()),
        ("runs show", ("1",)),
        ("runs show", ("2",)),
        ("runs best", ("1",)),
        ("runs best", ("2",)),
        ("runs insights", ("1", "--all")),
        ("lineage", ("7",)),
        ("lineage", ("7", "--full")),
        ("show", ("5",)),
        ("show", ("6",)),
        ("show", ("8",)),  # with an infinite error
        ("diff", ("5", "6")),
        ("export", ("2", "--out", "exported", "--name", "made_up")),
        ("replay", ("space.csv", "--repeats", "1", "--evaluations", "3", "--strategy", "random", "--jobs", "1")),
        ("render", FAMILY),
        ("render", (*FAMILY, "--compile-commands", "sources")),
    ],
)
def test_it_is_one_object_of_its_schema(place, monkeypatch, command, arguments):
    monkeypatch.chdir(place)
    monkeypatch.setenv("EVOFLASH_DB", "runs.db")
    result = CliRunner().invoke(app, [*command.split(), *arguments, "--json"])
    assert result.exit_code == 0, result.output
    printed(command, result.stdout)


def test_a_build_that_fails_prints_its_object_before_the_error(place, monkeypatch):
    monkeypatch.chdir(place)
    genome = '{"fault": "does_not_compile", "work": 1}'
    words = ("broken", "--templates", str(BROKEN), "--shape", SHAPE, "--cache", "builds", "--genome", genome, "--json")
    result = CliRunner().invoke(app, ["build", *words])
    assert result.exit_code == 1
    document = printed("build", result.stdout)
    assert (document["status"], document["library"]) == ("build_failed", None)
    assert result.stderr.startswith("evoflash: broken does not build: ")


def test_an_error_prints_no_object(place, monkeypatch):
    monkeypatch.chdir(place)
    result = CliRunner().invoke(app, ["show", "99", "--json", "--db", "runs.db"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "no candidate 99" in result.stderr


def test_every_command_that_prints_facts_takes_it():
    taking = {name for name, each in json_page.commands().items() if any("--json" in p.opts for p in each.params)}
    assert taking == json_page.DOCUMENTS.keys()
    assert json_page.commands().keys() - taking == json_page.WITHOUT


def test_every_field_has_a_meaning():
    for document in json_page.DOCUMENTS.values():
        found = json_page.schema(document)
        inner = {name: each for name, each in found.get("$defs", {}).items() if "properties" in each}
        for name, each in {document.__name__: found, **inner}.items():
            meanings = json_page.descriptions(name, each)
            assert [field for field in each["properties"] if not meanings.get(field)] == [], name


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == json_page.page(), (
        "what --json prints has changed: python -m tests.json_page > docs/json.md"
    )
