"""What the figures of a run show, and what they say where there is nothing to show."""

import importlib
import math
import re
import sys

import pytest
from sqlalchemy import event

from evoflash.core.candidate import Candidate, Origin
from evoflash.core.genome import Genome
from evoflash.errors import MissingError, NothingToShowError
from evoflash.report import figures, run_data
from evoflash.report.figures.resources import occupancy
from evoflash.report.figures.theme import apart
from evoflash.report.run_data import RunData
from evoflash.run.tasks import BASELINES
from evoflash.store import RunStore
from tests.report import searches
from tests.store import runs
from tests.store.runs import failed, ok

ONE_RUN = [name for name in figures.__all__ if name not in ("comparison", "gene")]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with RunStore.open(str(tmp_path_factory.mktemp("figures") / "runs.db"), write=True) as store:
        searches.search(store)
        yield store


@pytest.fixture(scope="module")
def data(store):
    return RunData.read(store, 1)


def traces(figure, name: str):
    return next(trace for trace in figure.data if trace.name == name)


def test_a_run_is_read_in_as_many_queries_whatever_its_size(tmp_path):
    counts = []
    for size in (2, 80):
        with RunStore.open(str(tmp_path / f"{size}.db"), write=True) as store:
            run = runs.begin(store)
            for index in range(size):
                store.record(run, runs.candidate(index, *((index // 2,) if index else ())), ok(100.0 - index), None)
            store.record_finals(run, runs.finals((0, 9.0), (1, 10.0)))
            sent: list[str] = []
            event.listen(store._engine, "before_cursor_execute", lambda *call, sent=sent: sent.append(call[2]))
            assert len(RunData.read(store, run).candidates) == size
            counts.append(len(sent))
    assert counts[0] == counts[1]


def test_the_winner_is_that_of_the_finals_and_its_path_leads_to_a_first_ancestor(data):
    assert data.winner.index == 56
    assert data.winner_us == 9.0
    assert [each.index for each in data.path] == list(range(56, -1, -3))
    assert data.best_baseline == "sdpa"


def test_without_finals_the_winner_is_the_fastest_of_the_search(store, tmp_path):
    with RunStore.open(str(tmp_path / "runs.db"), write=True) as other:
        run = searches.search(other, with_finals=False)
        other.record_insight(run, 0, BASELINES, "sdpa 50 us", {"sdpa": 50.0})
        found = RunData.read(other, run)
    assert found.baselines == {"sdpa": 50.0}  # those of the beginning
    assert found.winner.fitness_us == min(each.fitness_us for each in found.correct)
    with pytest.raises(NothingToShowError, match="no finals"):
        figures.samples(found)


def test_the_ancestry_goes_on_in_other_runs(tmp_path):
    with RunStore.open(str(tmp_path / "runs.db"), write=True) as store:
        first = runs.begin(store)
        store.record(first, runs.candidate(0), ok(30.0), "// first")
        second = runs.begin(store)
        taken = Candidate(0, "cpu_flash", Genome({"rows": 3}), "seed", (), Origin(first, 0))
        store.record(second, taken, ok(20.0), "// second")
        found = RunData.read(store, second)
    assert [each.run_id for each in found.path] == [second, first]


def test_progress_is_a_staircase_of_the_improvements_with_the_baselines_as_lines(data):
    figure = figures.progress(data)
    stairs = traces(figure, "best so far")
    assert list(stairs.y) == sorted(stairs.y, reverse=True)
    assert list(stairs.x[:3]) == [1, 2, 3]
    assert stairs.x[-1] == searches.COUNT
    assert {label.text for label in figure.layout.annotations} == {"sdpa", "eager"}
    assert len(traces(figure, "failed").x) == searches.COUNT // 4
    assert "&lt;/script&gt;" in traces(figure, "failed").hovertext[0]


def test_the_lineage_has_every_candidate_and_marks_the_winners_path(data):
    figure = figures.lineage(data)
    drawn = [each for trace in figure.data[1:-1] for each in trace.customdata]
    assert sorted(drawn) == [each.id for each in data.candidates]
    assert list(traces(figure, "winner's path").customdata) == [each.id for each in data.path]
    edges = sum(value is None for value in figure.data[0].x)
    assert edges == sum(len(each.parent_ids) for each in data.correct)


def test_the_gene_that_decides_weighs_most_and_is_on_the_map(data):
    figure = figures.importance(data)
    assert figure.data[0].y[-1] == "rows"  # the top bar
    assert data.importance.r2 > 0.9
    chart = figures.niches(data)
    best = min(value for line in chart.data[0].z for value in line if value is not None)
    assert best == pytest.approx(math.log(min(each.fitness_us for each in data.correct)))
    slices = figures.gene(data, "rows")
    assert [trace.name for trace in slices.data[:3]] == ["16", "32", "64"]
    with pytest.raises(NothingToShowError, match="differ in threads"):
        figures.gene(data, "threads")


def test_the_value_that_always_fails_is_on_top(data):
    figure = figures.failing_genes(data)
    top = max(zip(figure.data[0].x, figure.data[0].y, strict=True))
    assert top == (1.0, "stages = 4")
    ended = figures.failures(data)
    assert sum(sum(trace.x) for trace in ended.data) == searches.COUNT


def test_ratios_are_those_of_the_finals(data):
    points = figures.ratios(data).data[-1]
    found = dict(zip(points.y, points.x, strict=True))
    assert found == {name: ratio.value for name, ratio in data.winning_final.ratios.items()}


def test_occupancy_is_what_registers_threads_and_shared_memory_allow(data):
    # 64 registers of 128 threads are 8192 of 65536: 8 blocks of 128 threads, of 2048.
    assert occupancy(data, data.winner) == 0.5
    assert set(figures.resources(data, "occupancy").data[0].x) == {0.5}


def test_the_roofline_stands_above_every_candidate(data):
    figure = figures.roofline(data)
    roof, points = figure.data[0], traces(figure, "correct candidates")
    assert max(points.y) < max(roof.y)
    assert traces(figure, "an empty launch, measured").y[0] == pytest.approx(data.problems["made-up"].flops / 0.5e6)


@pytest.mark.parametrize("name", ONE_RUN)
def test_every_figure_draws_a_run_or_says_why_it_cannot(name, data, tmp_path):
    draw = getattr(figures, name)
    assert draw(data).data
    with RunStore.open(str(tmp_path / "runs.db"), write=True) as store:
        empty = runs.begin(store)
        wrong = runs.begin(store)
        store.record(wrong, runs.candidate(0), failed(), None)
        for run in (empty, wrong):
            found = RunData.read(store, run)
            try:
                shown = draw(found).data
            except NothingToShowError as error:
                shown = re.search(r"\w+ \w+ \w+", str(error))
            assert shown


def test_a_figure_of_many_candidates_keeps_those_that_matter(data, monkeypatch):
    monkeypatch.setattr(run_data, "THINNED", 30)
    kept = data.thinned(data.candidates)
    assert len(kept) < 45
    assert {each.id for each in (*data.path, *data.improvements)} <= {each.id for each in kept}


def test_labels_that_would_cover_each_other_share_a_place():
    assert apart({"c": 30.0, "a": 10.0, "b": 11.0}, 1.3) == [("a, b", 10.0), ("c", 30.0)]


def test_without_plotly_the_extra_is_named(monkeypatch):
    for name in [each for each in sys.modules if each.startswith(("plotly", "evoflash.report.figures"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(MissingError, match=r"evoflash\[report\]"):
        importlib.import_module("evoflash.report.figures")
