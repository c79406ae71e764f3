import pytest

from evoflash.core.status import Status
from evoflash.problems.attention import AttentionProblem
from evoflash.run import warm_start
from evoflash.run.warm_start import Known
from evoflash.store import RunStore
from tests.helpers import FLAG, ordinal, space
from tests.store import runs
from tests.store.runs import candidate, failed, ok, source

SHAPES = {"near": (1, 8, 512, 64), "far": (4, 32, 4096, 128), "same": (1, 8, 1024, 64)}


@pytest.fixture
def store(tmp_path):
    with RunStore.open(str(tmp_path / "runs.db"), write=True) as opened:
        yield opened


def begin(store, shape, **changes):
    """A run with one right candidate."""
    run = runs.begin(store, problem=AttentionProblem.of(*SHAPES[shape]), **changes)
    store.record(run, candidate(0), ok(10.0), source(run), "cpp")
    return run


def test_the_nearest_run_is_of_the_same_device_and_the_most_alike(store):
    wanted = AttentionProblem.of(*SHAPES["same"])
    assert warm_start.nearest(store, wanted, "test device", "cpu") is None
    far, near = begin(store, "far"), begin(store, "near")
    begin(store, "same", machine={"device": "another"})
    begin(store, "same", target="cuda")
    runs.begin(store, problem=wanted)  # found nothing right
    found = warm_start.nearest(store, wanted, "test device", "cpu")
    assert found is not None
    assert found.id == near != far
    latest = begin(store, "same")
    assert getattr(warm_start.nearest(store, wanted, "test device", "cpu"), "id", None) == latest


def test_distance_counts_doublings_and_what_is_no_size():
    one = {"heads": 8, "seq_q": 512, "dtype": "float16", "causal": False}
    assert warm_start.distance(one, one) == 0
    assert warm_start.distance(one, {**one, "seq_q": 2048}) == 2
    assert warm_start.distance(one, {**one, "heads": 4, "causal": True}) == 1 + warm_start.UNLIKE
    assert (
        warm_start.distance(one, {**one, "dtype": "bfloat16"})
        == warm_start.distance({**one, "dtype": "bfloat16"}, one)
        > 0
    )


def test_the_best_five_are_kept_and_only_what_is_right(store):
    run = runs.begin(store)
    for number, result in enumerate([ok(9.0 - n) for n in range(7)] + [failed(), ok(0.1, status=Status.WRONG)]):
        store.record(run, candidate(number), result, source(number), "cpp")
    found = warm_start.best_of(store, store.run(run))
    assert [each.genome["rows"] for each in found] == [16 * (n + 1) for n in (6, 5, 4, 3, 2)]
    assert {each.run for each in found} == {run}


def test_known_genomes_come_before_the_seeds_and_strangers_are_left_out():
    seeds = [{"genome": {"rows": 16, "fast": False}, "device": "any", "date": "2025-01-01"}]
    made = space({"rows": ordinal(16, 32, 64), "fast": FLAG}, ["rows <= 32"], "made", seeds=seeds)
    known = tuple(
        Known(run=1, family=family, genome=genome)
        for family, genome in [
            ("made", {"rows": 32, "fast": True}),
            ("made", {"rows": 64, "fast": True}),  # not valid here
            ("made", {"rows": 32}),  # a gene was added since
            ("other", {"rows": 16, "fast": True}),
        ]
    )
    found = warm_start.seeded({"made": made}, known)["made"]
    assert [seed.genome for seed in found.seeds] == [{"rows": 32, "fast": True}, {"rows": 16, "fast": False}]
    assert len(made.seeds) == 1


def test_results_are_those_of_the_same_work_on_the_same_machine_before(store):
    machine = {"device": "test device", "compiler": "g++ 1", "git": "abc"}
    plan = {"problem": {"kind": "attention", "seq": 1}, "limits": {}, "target": "cpu", "debug": False}
    wanted = runs.begin(store, machine=machine, plan=plan)
    digests = {}
    for number, result in enumerate([ok(5.0), failed(), failed(Status.HUNG), ok(9.0, quick=True)]):
        store.record(wanted, candidate(number), result, source(number), "cpp")
        digests[number] = store.candidate(store.candidate_id(wanted, number)).source_digest
    for changes in (
        {"machine": {**machine, "compiler": "g++ 2"}},
        {"plan": {**plan, "limits": {"max_registers": 64}}},
        {"plan": {**plan, "problem": {"kind": "attention", "seq": 2}}},
    ):
        other = runs.begin(store, **{"machine": machine, "plan": plan, **changes})
        store.record(other, candidate(0), ok(1.0), source(99), "cpp")
    found = warm_start.results(store, 100, plan, {**machine, "git": "def"})
    assert {digest: store.candidate(each).evaluation.status for digest, each in found.items()} == {
        digests[0]: Status.OK,
        digests[1]: Status.BUILD_FAILED,
    }
    assert warm_start.results(store, wanted, plan, machine) == {}


def test_results_of_an_earlier_evoflash_are_found_by_the_shapes_of_its_plan(store):
    one, two = ({"kind": "attention", "seq": seq} for seq in (1, 2))
    machine, same = {"device": "test device"}, {"limits": {}, "target": "cpu", "debug": False}

    def found(plan):
        return set(warm_start.results(store, 100, {**same, **plan}, machine).values())

    def record(plan):
        run = runs.begin(store, machine=machine, plan={**same, **plan})
        return store.record(run, candidate(0), ok(5.0), source(run), "cpp")

    old_alone = record({"problem": one, "shape": "short"})
    old_both = record({"problem": one, "shape": "short", "beside": [{"shape": "long", "problem": two}]})
    alone = record({"shapes": [{"name": "another name", "problem": one}]})
    both = record({"shapes": [{"name": "short", "problem": one}, {"name": "long", "problem": two}]})
    assert found({"shapes": [{"name": "short", "problem": one}]}) == {old_alone, alone}
    assert found({"shapes": [{"name": "short", "problem": one}, {"name": "long", "problem": two}]}) == {old_both, both}
    assert found({"problem": one, "shape": "short", "beside": []}) == {old_alone, alone}
    assert found({"shapes": [{"name": "short", "problem": two}]}) == set()
