"""The bench with kernels that are right, wrong, or bring the worker down, in a real worker."""

import json

import pytest

from evoflash import targets
from evoflash.bench.bench import Bench, Effort, case_sets
from evoflash.bench.entrants import FixedEntrant, of_family
from evoflash.bench.measurement import Entry
from evoflash.bench.standings import standings
from evoflash.codegen.source import Source
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.finals import Conditions, Contestant, contestant
from evoflash.core.status import Status
from evoflash.errors import NotFoundError, SpaceError, UsageError
from evoflash.evaluator.messages import Raced
from evoflash.evaluator.sandbox import WorkerDeath
from evoflash.problems.attention import AttentionProblem, parse
from evoflash.worker.clock import Disturbances
from evoflash.worker.race import MIN_ROUNDS, interleave, prepare
from tests.export.conftest import inlined

PROBLEM = AttentionProblem.of(1, 2, 24, 16, dtype="float32")
DECLINED_ROWS = PROBLEM.model_copy(update={"seq_q": 7})

# What is put into the plain kernel's launcher, beside what it does.
EVERY_LAUNCH = "static int launches = 0; launches++;"
CHANGES = {
    "right": "",
    "wrong": "Attention sharper = *p; sharper.scale *= 1.1; p = &sharper;",
    "crashing": "__builtin_trap();",
    "late": "if (launches > 9) __builtin_trap();",  # three seeds thrice pass, then it is raced
    "broken": "no such statement;",
}
HEAD = "int evoflash_launch(const Attention *p, void *) {"


def entrant(name: str) -> FixedEntrant:
    text = inlined("plain_attention.cpp").replace(HEAD, f"{HEAD} {EVERY_LAUNCH} {CHANGES[name]}")
    return FixedEntrant(name, name, "plain", "cpu", Source(text, "c++"), {}, PROBLEM)


@pytest.fixture(scope="module")
def target():
    return targets.detect("cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("builds")


def bench(target, cache, *names: str, **effort) -> Bench:
    settings = {"samples": 5, "warmup": 1, "budget_s": 20.0, **effort}
    return Bench(
        target, Toolchain(target, cache), [entrant(name) for name in names], Effort(**settings), lambda _: None
    )


def test_only_what_is_right_is_timed_and_failures_are_told_apart(target, cache):
    with bench(target, cache, *CHANGES) as engine:
        result = engine.shape("here", PROBLEM)
    kernels = {entry.name: entry for entry in result.kernels}
    assert {name: entry.status for name, entry in kernels.items()} == {
        "right": Status.OK,
        "wrong": Status.WRONG,
        "crashing": Status.CRASHED,
        "late": Status.CRASHED,
        "broken": Status.BUILD_FAILED,
    }
    right = kernels["right"]
    assert result.kernels[0] == right
    assert right.p50_us is not None
    assert right.p50_us <= right.p90_us <= right.p99_us
    assert right.tflops == pytest.approx(PROBLEM.flops / right.p50_us / 1e6)
    assert right.gbytes_per_s == pytest.approx(PROBLEM.min_bytes / right.p50_us / 1e3)
    assert right.vs_best.low <= right.vs_best.value <= right.vs_best.high
    assert right.vs_math.value > 0
    assert len(right.accuracy) == 3
    assert (len(right.samples), result.rounds) == (5, 5)
    assert [entry.name for entry in result.kernels if entry.p50_us is not None] == ["right"]
    assert "error" in kernels["wrong"].reason
    assert kernels["wrong"].accuracy[-1].max_error > 0
    assert "racing kernel late" in kernels["late"].reason
    assert "error" in kernels["broken"].build.log
    assert result.failures.keys() == CHANGES.keys() - {"right"}
    assert {entry.name for entry in result.baselines} == {"sdpa", "sdpa-math", "eager"}
    assert result.baselines[0].name == result.best_baseline
    assert result.baselines[0].vs_best.value == 1.0


def test_that_other_programs_disturbed_the_times_is_said(target, cache, monkeypatch):
    said = []
    engine = Bench(target, Toolchain(target, cache), [], Effort(samples=5, warmup=1, budget_s=20.0), said.append)
    disturbed = Raced(
        contestants=(contestant("sdpa", [1.0] * 5),), conditions=Conditions(samples=5, disturbed=3, others=("train",))
    )
    monkeypatch.setattr(engine, "_call", lambda request, problem: {})
    monkeypatch.setattr(engine, "_race", lambda problem, made: (disturbed, list(made)))
    with engine:
        engine.shape("here", PROBLEM)
    assert "here: other programs (train) disturbed 60% of the samples, so the times may be wrong" in said


def test_unchecked_kernels_are_timed_and_those_that_decline_are_not(target, cache):
    with bench(target, cache, "right", "wrong", check=False) as engine:
        unchecked = engine.shape("here", PROBLEM)
        assert all(entry.p50_us and not entry.accuracy for entry in unchecked.kernels)
    with bench(target, cache, "right") as engine:
        declined = engine.shape("seven rows", DECLINED_ROWS).kernels[0]
        assert (declined.status, declined.p50_us) == ("declined", None)
        other = engine.shape("half", PROBLEM.model_copy(update={"dtype": "float16"})).kernels[0]
        assert (other.status, other.reason, other.build) == ("declined", "it was rendered for float32", None)
        cases = [
            case for case in PROBLEM.cases() if case.name in ("31x33", "31x33 causal", "203 nan_row", "113 float16")
        ]
        tally = engine.cases("four", cases)[0]
    assert tally.passed == ("31x33", "203 nan_row")
    assert tally.declined == ("31x33 causal", "113 float16")
    assert 0 < tally.worst_max_ratio <= 1
    assert len(tally.accuracy) == 2


def test_case_sets_are_fifteen_for_each_dtype_and_mask():
    shapes = [parse(name) for name in ("mission", "bert", "mission_causal", "d128_1k")]
    sets = case_sets(shapes, every=False)
    assert {of: len(cases) for of, cases in sets.items()} == {
        "float16": 15,
        "float16 causal": 15,
        "bfloat16 causal": 15,
    }
    assert sets["float16"][0].name == "tiny seed 0"
    everything = case_sets(shapes[:1], every=True)
    assert list(everything) == [shapes[0].label]
    assert len(everything[shapes[0].label]) == len(shapes[0].cases())


def test_standings_of_a_race_that_died():
    death = WorkerDeath(Status.HUNG, "no response within 1 s while racing all", "racing all")
    entries = [Entry(name="a", status=Status.OK), Entry(name="b", status=Status.WRONG, reason="rms")]
    result = standings("here", PROBLEM, death, entries, 1.0)
    assert [(entry.status, entry.p50_us) for entry in result.kernels] == [(Status.HUNG, None), (Status.WRONG, None)]
    assert result.failures == {"baselines": death.reason, "a": death.reason, "b": "rms"}
    assert result.best_baseline is None


def test_standings_compare_with_the_fastest_baseline_and_a_kernel_may_have_its_name():
    def times(name: str, us: float) -> Contestant:
        return Contestant(name=name, p50_us=us, p90_us=us, p99_us=us, samples=(us, us, us))

    raced = Raced(contestants=(times("sdpa-math", 40), times("sdpa", 20), times("kernel sdpa", 10)))
    result = standings("here", PROBLEM, raced, [Entry(name="sdpa", status=Status.OK, origin="12")], 1.0)
    assert [entry.name for entry in result.baselines] == ["sdpa", "sdpa-math"]
    assert (result.kernels[0].vs_best.value, result.kernels[0].vs_math.value) == (2.0, 4.0)
    assert result.failures == {}


def test_a_family_is_rendered_for_each_shape(target):
    family = of_family("cpu_flash", 3, ())
    here, there = (family.kernel(parse(name), target) for name in ("tiny", "mission_causal"))
    assert here.source.text != there.source.text
    assert here.note == "random genome of seed 3" or here.note.startswith("first known-good")
    assert family.kernel(parse("b=1,h=1,s=8,d=12"), target).startswith("the key panels")
    again = of_family(f"cpu_flash:{_json(here.genome)}", 0, ())
    assert again.kernel(parse("tiny"), target).source == here.source
    assert again.name.startswith("cpu_flash ")
    wide = of_family(f"cpu_flash:{_json({**here.genome, 'threads': 128, 'bf16_dot': True})}", 0, ())
    assert "not valid here" in wide.kernel(parse("tiny"), target)
    with pytest.raises(SpaceError, match="is missing"):
        of_family('cpu_flash:{"threads": 1}', 0, ()).kernel(parse("tiny"), target)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("cpu_flush", NotFoundError, "did you mean 'cpu_flash'"),
        ("cpu_flash:{rows}", UsageError, "not JSON"),
        ("cpu_flash:[1]", UsageError, "JSON object"),
    ],
)
def test_families_that_do_not_parse(text, error, words):
    with pytest.raises(error, match=words):
        of_family(text, 0, ())


def _json(genome) -> str:
    return json.dumps(dict(genome))


class CountingClock:
    """Samples that take no time; `captured` is the contestant's own list."""

    disturbances = Disturbances()

    def capture(self, calls, launches):
        return calls

    def sample(self, captured, before=None):
        return float(captured[0]() or 1.0)

    def launches(self, estimate_us, calls):
        return calls


def test_interleaved_rounds_end_with_the_budget():
    watch = CountingClock()
    contestants = {"a": prepare(watch, [lambda: 1.0]), "b": prepare(watch, [lambda: 2.0])}
    full = interleave(watch, contestants, 7, warmup=4)
    assert {name: len(samples) for name, samples in full.samples.items()} == {"a": 7, "b": 7}
    spent = interleave(watch, contestants, 7, budget_s=0.0, warmup=4)
    assert {name: len(samples) for name, samples in spent.samples.items()} == {"a": MIN_ROUNDS, "b": MIN_ROUNDS}
