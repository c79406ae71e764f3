"""`evoflash export`: which kernels of a run go into the package."""

import json

import pytest

from evoflash import targets
from evoflash.errors import NoPackageError, UsageError
from evoflash.export import runs as exporting
from evoflash.export.formats import FORMATS
from evoflash.export.runs import export_runs
from evoflash.export.sweep import Sweep
from evoflash.problems.attention.members import ATTENTION
from evoflash.store import RunStore
from tests.helpers import TINY, plan
from tests.store import runs
from tests.store.runs import accuracy, candidate, ok, source

TAKES = f'const char evoflash_interface[] = "{ATTENTION.signature}";\n'  # as the header says it


@pytest.fixture
def store(tmp_path):
    wanted = plan(targets.detect("cpu"), "tiny", TINY)
    with RunStore.open(str(tmp_path / "runs.db"), write=True) as opened:
        run = runs.begin(opened, plan=wanted.model_dump(mode="json"), problem=wanted.shapes[0].problem)
        for index, time in enumerate((20.0, 22.0, 25.0, 30.0)):
            opened.record(run, candidate(index), ok(time), source(index) + TAKES, "c++")
        opened.finish_run(run, status="done", reason="the budget is spent", elapsed_s=1.0)
        yield opened


def record_finals(store, *cases: str) -> None:
    """Finals of candidates 0, 1, 2 …, each of which has passed one case; one more is refused."""
    made = runs.finals(*((index, 20.0 + index) for index in range(len(cases) + 1)))
    passed = [
        final.model_copy(update={"accuracy": (accuracy(case),)})
        for final, case in zip(made.finalists, cases, strict=False)
    ]
    store.record_finals(1, made.model_copy(update={"finalists": (*passed, made.finalists[-1])}))


def kernels(store, tmp_path, **options) -> list[dict]:
    """The rows of the package's table, each with the number of its candidate."""
    folder = export_runs(store, [1], tmp_path / "out", name="exported_run", **options)
    package = folder / "exported_run"
    rows = json.loads((package / "kernels.json").read_text())["kernels"]
    for row in rows:
        row["candidate"] = int((package / row["source"]).read_text().split("rows = ")[1].split(";")[0])
    return rows


def test_a_winner_of_its_own_lengths_goes_with_the_fastest_of_any_length(store, tmp_path):
    record_finals(store, "seed 0", "113x203", "65x4099")
    first, second = kernels(store, tmp_path)
    assert (first["candidate"], second["candidate"]) == (0, 2)
    assert first["query_length"][0] == first["query_length"][1]
    assert second["query_length"] == second["key_length"] == [1, None]
    provenance = json.loads((tmp_path / "out" / "exported_run" / "provenance.json").read_text())
    assert provenance["others"][0]["candidate"] == store.candidate_id(1, 2)
    assert provenance["others"][0]["finals"]["time"]["p50_us"] == 22.0


def test_the_times_of_calls_are_those_of_the_candidate(store, tmp_path):
    record_finals(store, "65x4099")
    times = {"size": "1x1(1)x1:1", "by": "it computes", "torch": "2.13", "sdpa_over_attention": [2.0, 1.9, 2.1]}
    first, second = store.candidate_id(1, 0), store.candidate_id(1, 1)
    store.record_insight(1, 0, "calls", "…", {**times, "us": {"attention": 2.5, "SDPA": 5.0}, "candidate": first})
    for number, there in ((None, True), (first, True), (second, False)):
        kernels(store, tmp_path, candidate=number)
        provenance = json.loads((tmp_path / "out" / "exported_run" / "provenance.json").read_text())
        assert ("calls" in provenance) == there
        assert provenance["date"] == store.run(1).created_at.date().isoformat()


@pytest.mark.parametrize("form", list(FORMATS))
def test_another_form_replaces_itself_and_nothing_else(store, tmp_path, form):
    record_finals(store, "65x4099")
    out = tmp_path / "out"
    for _ in range(2):
        export_runs(store, [1], out, name="exported_run", form=form)
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert len(files) >= 1
    assert "provenance.json" not in {path.name for path in out.iterdir()}
    (out / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"'mine\.txt', which is no export's"):
        export_runs(store, [1], out, name="exported_run", form=form)
    assert (out / "mine.txt").read_text() == "mine"


def test_more_kernels_than_a_package_holds_are_left_out_with_a_word(store, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "MOST_KERNELS", 2)
    record_finals(store, "seed 0", "65x4099", "65x4099")
    written, said = [], []

    class Measured(Sweep):
        def run(self, winner, out, variables):
            written.extend(winner.sources)
            found = {"device": "a CPU", "torch": "2.13", "points": [], "rows": []}
            return winner.swept(found)

    export_runs(store, [1], tmp_path / "out", name="exported_run", sweep=Measured(), say=said.append)
    assert written == ["kernel.cpp", "kernel_2.cpp"]
    assert said[0] == "the last 1 finalists are left out: too many kernels"


def test_a_winner_of_any_length_needs_no_other(store, tmp_path):
    record_finals(store, "65x4099", "65x4099")
    assert [row["candidate"] for row in kernels(store, tmp_path)] == [0]


def test_where_no_finalist_takes_any_length_the_winner_goes_alone(store, tmp_path):
    record_finals(store, "seed 0", "113x203")
    assert [row["candidate"] for row in kernels(store, tmp_path)] == [0]


def test_a_candidate_by_its_number_goes_alone(store, tmp_path):
    record_finals(store, "seed 0", "65x4099")
    assert [row["candidate"] for row in kernels(store, tmp_path, candidate=store.candidate_id(1, 1))] == [1]


@pytest.mark.parametrize("takes", ["", TAKES.replace("scale", "factor")])
def test_a_kernel_that_takes_another_struct_is_not_exported(store, tmp_path, takes):
    store.record(1, candidate(4), ok(10.0), source(4) + takes, "c++")
    chosen = store.candidate_id(1, 4)
    with pytest.raises(NoPackageError, match=rf"candidate {chosen} was rendered for another attention\.h than"):
        export_runs(store, [1], tmp_path / "out", candidate=chosen)
    assert not (tmp_path / "out").exists()
