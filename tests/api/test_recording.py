"""Recordings on evaluations that a function makes up: what is measured, once, over several sittings, and the file."""

import gzip
import json
from pathlib import Path

import pytest

from evoflash import config
from evoflash.api.prepared import PreparedSearch
from evoflash.api.recording import RecordRequest
from evoflash.core.status import Status
from evoflash.errors import SpaceError, UsageError
from evoflash.replay.formats import read
from evoflash.run.survey import Survey, places
from evoflash.store import RunStore
from tests.helpers import FLAG, SHAPE, TINY, Quiet, categorical, ordinal, space
from tests.made_up import Interrupting, MadeUpToolchain, made_up_search

EVERY = 168  # valid genomes of the family tiny


def request(folder: Path, **changes) -> RecordRequest:
    given = {"family": ["tiny"], "out": folder / "space.t4.json.gz", "shape": SHAPE, "target": "cpu"}
    return RecordRequest(
        **{**given, "templates": [TINY], "db": str(folder / "runs.db"), "cache": folder / "builds", **changes}
    )


def sitting(wanted: RecordRequest, progress=None, *, keep: bool = True):
    """Measures; returns what the file has, what was measured now, and what was said."""
    said: list[str] = []
    prepared = wanted.prepare(said.append)
    (plan,) = prepared.search.plans
    with RunStore.open(prepared.search.settings.db, write=True) as store:
        search = made_up_search([plan], prepared.search.device, MadeUpToolchain(), store, progress or Quiet())
        try:
            search.run()
        except KeyboardInterrupt:
            said.append("interrupted")
        measured = [candidate.key for candidate, _ in store.recorded(search.tasks[0].run_id)]
        kept = prepared.keep(store, search) if keep else None
    return kept, measured, said


def content(path: Path):
    return json.loads(gzip.decompress(path.read_bytes()))


def test_a_whole_space_is_measured_once_over_several_sittings(tmp_path):
    wanted = request(tmp_path)
    first, measured, _ = sitting(wanted, Interrupting(40))
    assert first is not None
    assert first.new == len(measured) >= 40  # results that come together are stored together
    second, more, said = sitting(wanted, Interrupting(50))
    assert second is not None
    assert any(f"{len(measured)} of its genomes have a result" in each for each in said)
    assert not set(measured) & set(more)
    last, rest, _ = sitting(wanted)
    assert last is not None
    assert sorted(measured + more + rest) == sorted(set(measured + more + rest))
    assert sum(each.points for each in last.families) == len(measured + more + rest) == EVERY
    assert last.ended == "everything has been measured"
    assert [each["points"] for each in content(wanted.out)["metadata"]["sittings"]] == [
        len(measured),
        len(more),
        len(rest),
    ]
    prepared = wanted.prepare()
    assert prepared.left == 0
    assert prepared.run().families == last.families  # without a worker


def test_a_sitting_that_was_killed_is_found_in_the_database(tmp_path):
    wanted = request(tmp_path)
    _, measured, _ = sitting(wanted, Interrupting(30), keep=False)
    assert not wanted.out.exists()
    kept, more, said = sitting(wanted)
    assert any(f"its {len(measured)} results are taken in" in each for each in said)
    assert not set(measured) & set(more)
    assert kept is not None
    assert sum(each.points for each in kept.families) == EVERY
    wanted.out.unlink()  # whoever begins anew has nothing taken in that has been written
    assert wanted.prepare().left == EVERY


def test_the_file_comes_in_again_as_it_was_measured(tmp_path):
    wanted = request(tmp_path, only={"work": (1, 2), "comment": (False,)})
    kept, measured, _ = sitting(wanted)
    with RunStore.open(str(tmp_path / "runs.db")) as store:
        run = store.run()
        pairs = store.recorded(run.id)
    assert run.has_finals is False
    found = read(wanted.out)
    assert {family: len(own) for family, own in found.spaces.items()} == {"tiny": len(measured)} == {"tiny": 32}
    assert found.spaces["tiny"].parameters["work"].values == (1, 2)
    kinds = [each.kind for each in found.spaces["tiny"].parameters.values()]
    assert kinds == ["ordinal", "ordinal", "categorical", "flag", "flag"]
    by_index = {candidate.index: evaluation for candidate, evaluation in pairs}
    for candidate, evaluation in pairs:
        original = by_index[evaluation.duplicate_of] if evaluation.duplicate_of is not None else evaluation
        again = found.results[candidate.key]
        assert again.status is original.status
        if original.status is Status.OK:
            assert again.fitness_us == pytest.approx(original.fitness_us, rel=1e-5)
        else:
            assert again.fitness_us is None
            assert again.reason == original.reason
        build = evaluation.build or original.build
        assert again.build is not None
        assert build is not None
        assert again.build.registers == build.registers
    failures = sum(each.status is not Status.OK for each in found.results.values())
    assert kept is not None
    assert kept.families[0].failures == failures > 0
    document = content(wanted.out)
    assert not any(each.get("cached") for each in document["results"])
    metadata = document["metadata"]
    assert metadata["device"] == run.machine["device"]
    assert metadata["problem"] == run.problem
    assert metadata["timing"]["samples"] == 20


def test_families_are_recorded_into_one_file_one_after_the_other(tmp_path):
    other = tmp_path / "own"
    for name in ("templates", "search_spaces"):
        (other / name).mkdir(parents=True)
    (other / "templates" / "twin").symlink_to(_twin(tmp_path))
    text = (TINY / "search_spaces" / "tiny.yaml").read_text()
    (other / "search_spaces" / "twin.yaml").write_text(text.replace("family: tiny", "family: twin"))
    folders = [TINY, other]
    sitting(request(tmp_path, templates=folders, sample=12))
    alone = read(tmp_path / "space.t4.json.gz")
    sitting(request(tmp_path, templates=folders, sample=10, family=["twin", "tiny"]))
    both = read(tmp_path / "space.t4.json.gz")
    assert {family: len(own) for family, own in both.spaces.items()} == {"tiny": 12, "twin": 10}
    assert {key: each for key, each in both.results.items() if key[0] == "tiny"} == alone.results
    assert all("family" not in each.parameters for each in both.spaces.values())


def _twin(folder: Path) -> Path:
    twin = folder / "twin"
    twin.mkdir()
    for each in (TINY / "templates" / "tiny").iterdir():
        (twin / each.name).write_text(each.read_text().replace("family: tiny", "family: twin"))
    return twin


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"shape": SHAPE.replace("s=32", "s=48")}, r"records 1x2x32x16 float32, not 1x2x48x16 float32; choose another"),
        ({"samples": 30}, "has 20 samples of a timing, not 30"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, changes, says):
    sitting(request(tmp_path, sample=2))
    with pytest.raises(UsageError, match=says):
        request(tmp_path, **changes).prepare()


def test_a_changed_template_is_refused(tmp_path):
    sitting(request(tmp_path, sample=2))
    document = content(tmp_path / "space.t4.json.gz")
    document["metadata"]["sources"]["tiny"] = "another"
    (tmp_path / "space.t4.json.gz").write_bytes(gzip.compress(json.dumps(document).encode()))
    with pytest.raises(UsageError, match="the kernels of tiny have changed since"):
        request(tmp_path).prepare()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"only": {"wrk": (1,)}}, "unknown parameter 'wrk'; did you mean 'work'"),
        ({"only": {"work": (7,)}}, r"work=7 is not one of \(1, 2, 3, 4, 5, 6\)"),
        ({"only": {"comment": (1,)}}, r"comment=1 is not one of \(False, True\)"),
        ({"out": Path("space.csv")}, r"write a \.json or \.json\.gz file"),
        ({"family": []}, "no family is named"),
        ({"family": ["tny"]}, "unknown template 'tny'"),
    ],
)
def test_what_cannot_be_recorded_says_why(tmp_path, changes, says):
    with pytest.raises(UsageError, match=says):
        request(tmp_path, **changes).prepare()


def test_a_sitting_is_not_resumed_as_a_search(tmp_path):
    sitting(request(tmp_path), Interrupting(5))
    with pytest.raises(UsageError, match=r"was a sitting of `evoflash record`; run that command again with --out"):
        PreparedSearch.resumed(1, config.load(db=str(tmp_path / "runs.db")))


def survey(**changes) -> Survey:
    return Survey(out="", sitting="", **changes)


def test_a_sample_is_uniform_and_grows_by_its_end():
    own = space({"rows": ordinal(*range(16, 48)), "fast": FLAG, "kind": categorical("a", "b")}, ["rows < 32 or fast"])
    small = list(survey(sample=20).genomes(own, 0))
    large = list(survey(sample=50).genomes(own, 0))
    assert large[:20] == small
    assert len({each.digest for each in large}) == 50
    assert list(survey(sample=20).genomes(own, 1)) != small
    every = {each.digest for each in own.genomes()}
    assert {each.digest for each in survey(sample=1000).genomes(own, 0)} == every  # there are no more
    firsts = [next(survey(sample=1).genomes(own, seed))["fast"] for seed in range(300)]
    assert 174 < firsts.count(True) < 225  # of two thirds of the genomes


def test_places_are_ranges_of_what_is_known_and_left_out():
    own = space({"rows": ordinal(*range(10))})
    genomes = list(survey().genomes(own, 3))
    known = {genomes[place].digest for place in (0, 1, 2, 5, 9)}
    found = places(iter(genomes), {*known, "of another space"})
    assert found == ((0, 2), (5, 5), (9, 9))
    proposer = survey(skipped={own.family: found}).proposer({own.family: own}, 3)
    left = [proposal.genome for proposal in iter(lambda: proposer.ask(None), None)]  # type: ignore[arg-type]
    assert left == [genomes[place] for place in (3, 4, 6, 7, 8)]


def test_a_space_too_large_to_list_wants_a_sample(monkeypatch):
    monkeypatch.setattr("evoflash.run.survey.ENUMERABLE", 5)
    with pytest.raises(SpaceError, match="more than 5 valid genomes; fix more parameters by --set, or take a sample"):
        next(survey().genomes(space({"rows": ordinal(*range(10))}), 0))
