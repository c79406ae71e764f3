import shutil

import pytest

from evoflash import config, targets
from evoflash.codegen.template import load
from evoflash.errors import NotFoundError, SpaceError, UsageError
from evoflash.evaluator import Limits
from evoflash.problems.attention import AttentionProblem
from evoflash.run.plan import QUEUE, Plan, choose_families, window_of
from evoflash.run.shapes import Shape
from tests.helpers import PROBLEM, SHAPE, TINY, plan


def of(length: int) -> AttentionProblem:
    return AttentionProblem.of(1, 2, length, 16, dtype="float32")


@pytest.fixture(scope="module")
def target():
    return targets.detect("cpu")


LONG = PROBLEM.model_copy(update={"seq_q": 64})


def test_a_plan_survives_the_database(target):
    made = plan(target, "tiny", TINY, limits=Limits(max_spill_bytes=0), rivals=("xformers", "mine:attention"))
    stored = made.model_dump(mode="json")
    assert Plan.model_validate(stored) == made
    del stored["rivals"]  # as early versions stored it
    assert Plan.model_validate(stored).rivals == ()
    assert made.problems == {SHAPE: PROBLEM}


def test_the_window_is_a_multiple_of_the_builders_at_most(target):
    effort = config.effort("quick", "cpu", budget=5)
    made = Plan.make(
        {SHAPE: PROBLEM},
        target,
        effort,
        config.load(jobs=3),
        effort_name="quick",
        families=("tiny",),
        strategy="random",
        seed=0,
        limits=Limits(),
    )
    assert (made.builders, made.window) == (3, 3 * effort.window)


def test_no_more_proposals_are_in_flight_than_keep_a_device_busy():
    device = targets.cuda.of_arch("sm_90a")
    windows = [window_of([AttentionProblem.of(1, 16, length, 128)], device) for length in (512, 4096, 16384, 65536)]
    assert windows == sorted(windows, reverse=True)
    assert windows[0] > 100  # an examination takes hundredths of a second, a build a second or two
    assert windows[-1] == QUEUE + 1


def test_all_families_that_fit_compete(target):
    known = {"cpu_amx", "cpu_flash"} if target.facts["amx"] else {"cpu_flash"}
    assert set(choose_families([AttentionProblem.of(1, 8, 512, 64)], target, (), (TINY,))) == known
    assert set(choose_families([PROBLEM], target, (), (TINY,))) == {*known, "tiny"}


def test_wanted_families_are_taken_once(target):
    assert choose_families([PROBLEM], target, ("tiny", "tiny"), (TINY,)) == ("tiny",)


def test_why_none_fits_is_said(target):
    with pytest.raises(SpaceError, match=r"no family takes .*\n  tiny: its tests need one dtype"):
        choose_families([AttentionProblem.of(1, 8, 512, 64)], target, ("tiny",), (TINY,))
    with pytest.raises(SpaceError, match="scalar: it is for cuda"):
        choose_families([PROBLEM], target, ("scalar",), ())
    with pytest.raises(NotFoundError, match="unknown template 'tny'; did you mean 'tiny'"):
        choose_families([PROBLEM], target, ("tny",), (TINY,))


def test_a_half_written_family_does_not_stop_another(target, tmp_path):
    folder = tmp_path / "templates" / "begun"
    folder.mkdir(parents=True)
    (folder / "template.yaml").write_text("family: begun\n")
    assert choose_families([PROBLEM], target, ("tiny",), (TINY, tmp_path)) == ("tiny",)
    with pytest.raises(SpaceError):
        choose_families([PROBLEM], target, (), (TINY, tmp_path))
    said = []
    assert "tiny" in choose_families([PROBLEM], target, (), (TINY, tmp_path), say=said.append)
    assert len(said) == 1
    assert said[0].startswith(f"{folder / 'template.yaml'} is left out: ")
    assert str(folder / "template.yaml") in said[0]


def test_a_family_that_reads_facts_of_another_version_is_left_out(target, tmp_path):
    shutil.copytree(TINY, tmp_path / "root")
    root = tmp_path / "root"
    (root / "templates" / "tiny").rename(root / "templates" / "older")
    (root / "search_spaces" / "tiny.yaml").rename(root / "search_spaces" / "older.yaml")
    manifest, space = root / "templates" / "older" / "template.yaml", root / "search_spaces" / "older.yaml"
    manifest.write_text(manifest.read_text().replace("family: tiny", "family: older"))
    text = space.read_text().replace("family: tiny", "family: older")
    space.write_text(text.replace("split <= problem.head_dim", "split <= problem.size_d"))
    why = "it reads the fact size_d, which attention has not; fix its manifest or space"
    said = []
    chosen = choose_families([PROBLEM], target, (), (TINY, root), say=said.append)
    assert "tiny" in chosen
    assert "older" not in chosen
    assert said == [f"family older is left out: {why}"]
    assert load("older", (root,)).refusals(PROBLEM, target.facts) == [why]
    with pytest.raises(SpaceError, match=f"older: {why}"):
        choose_families([PROBLEM], target, ("older",), (TINY, root))


def test_a_plan_of_an_earlier_version_is_read(target):
    made = plan(target, "tiny", TINY)
    old = made.model_dump(mode="json", exclude={"shapes"})
    old |= {"problem": {"kind": "attention", **PROBLEM.model_dump()}, "shape": SHAPE}
    old["effort"] = {**old["effort"], "patience": 12}
    del old["effort"]["patience_percent"]
    assert Plan.model_validate(old) == made
    with pytest.raises(UsageError, match="patience"):
        config.effort("quick", "cpu", patience=12)


def test_a_plan_of_several_shapes_of_an_earlier_version_is_read(target):
    made = plan(target, "tiny", TINY, shapes=(Shape(name="short", problem=PROBLEM), Shape(name="long", problem=LONG)))
    old = made.model_dump(mode="json", exclude={"shapes"})
    first, second = ({"kind": "attention", **each.model_dump()} for each in (PROBLEM, LONG))
    old |= {"problem": first, "shape": "short", "beside": [{"shape": "long", "problem": second}]}
    assert Plan.model_validate(old) == made
    assert Plan.model_validate({**old, "beside": []}).problems == {"short": PROBLEM}


def test_a_plan_needs_shapes_of_distinct_names(target):
    shape = Shape(name="short", problem=PROBLEM)
    for shapes in ((), (shape, shape)):
        with pytest.raises(ValueError, match="shapes"):
            plan(target, "tiny", TINY, shapes=shapes)


def test_a_plan_for_one_kernel_of_several_shapes(target):
    shapes = {"short": PROBLEM, "long": LONG}
    made = Plan.make(
        shapes,
        target,
        config.effort("quick", "cpu"),
        config.load(),
        effort_name="quick",
        families=("tiny",),
        strategy="random",
        seed=0,
        limits=Limits(),
    )
    assert made.title == "short+long"
    assert made.problems == shapes
    assert made.label == "1x2x32x16 float32 and 1x2x64:32x16 float32"
    assert Plan.model_validate(made.model_dump(mode="json")) == made


def test_a_family_that_has_a_difference_built_in_serves_no_two_shapes(target):
    both = choose_families([of(32), of(64)], target, ("tiny",), (TINY,))
    assert both == ("tiny",)
    causal = of(64).model_copy(update={"causal": True})
    with pytest.raises(SpaceError, match="tiny: one kernel cannot serve shapes that differ in causal"):
        choose_families([of(32), causal], target, ("tiny",), (TINY,))
    half = PROBLEM.model_copy(update={"dtype": "float16"})
    with pytest.raises(SpaceError, match="tiny: its tests need one dtype"):
        choose_families([PROBLEM, half], target, ("tiny",), (TINY,))
    with pytest.raises(SpaceError, match="no family takes"):
        choose_families([half], target, ("tiny",), (TINY,), need_all=False)
