"""Makes small synthetic runs: a factory for the tests of the store and of what reads it."""

import math

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Accuracy, BuildReport, Evaluation, Timing
from evoflash.core.finals import Conditions, Contestant, Final, Finals
from evoflash.core.genome import Genome
from evoflash.core.statistics import Ratio
from evoflash.core.status import Stage, Status
from evoflash.problems.attention import AttentionProblem
from evoflash.store import RunStore

PROBLEM = AttentionProblem.of(1, 2, 64, 64)
MACHINE = {"device": "test device", "evoflash": "0.1.0"}
PLAN = {"budget": 10, "strategy": "evolution", "limit": math.inf}


def begin(store: RunStore, **changes) -> int:
    settings = {
        "strategy": "evolution",
        "seed": 7,
        "target": "cpu",
        "problem": PROBLEM,
        "plan": PLAN,
        "machine": MACHINE,
    }
    return store.begin_run(**{**settings, **changes})


def candidate(index: int, *parents: int, operator: str = "mutation", family: str = "cpu_flash", **genes) -> Candidate:
    genome = Genome({"rows": 16 * (index + 1), "layout": "b", "async": True, "scale": 0.1 * index, **genes})
    return Candidate(index, family, genome, operator if parents else "seed", parents)


def accuracy(case: str = "mission seed 0", error: float = 1e-4, worst: tuple[int, ...] = (0, 1, 2, 3)) -> Accuracy:
    return Accuracy(
        case=case,
        max_error=error,
        rms_error=error / 3,
        mean_error=error / 7,
        sdpa_max_error=1.1e-4,
        sdpa_rms_error=3.3e-5,
        max_bound=5e-4,
        rms_bound=6.6e-5,
        worst_index=worst,
    )


def timing(p50: float, regime: str = "warm", samples: int = 5) -> Timing:
    values = tuple(p50 + 0.1 * (n - samples // 2) + 1e-13 for n in range(samples))
    return Timing(regime=regime, p50_us=p50, p90_us=p50 * 1.1, p99_us=p50 * 1.3, launches=17, samples=values)


def ok(p50: float, **changes) -> Evaluation:
    build = BuildReport(
        seconds=1.25, registers=64, shared_bytes=4096, spill_bytes=0, binary_digest="ab" * 8, log="fine\n"
    )
    settings = {
        "status": Status.OK,
        "stage": Stage.FULL,
        "build": build,
        "accuracy": (accuracy(), accuracy("mission seed 42", 2e-4)),
        "timings": (timing(p50), timing(p50 * 2, "cold")),
        "seconds": 0.75,
    }
    return Evaluation(**{**settings, **changes})


def failed(status: Status = Status.BUILD_FAILED, **changes) -> Evaluation:
    build = BuildReport(seconds=0.5, log="kernel.cpp:3: error: ünknown `type`\n")
    settings = {"status": status, "stage": Stage.BUILD, "reason": "the compiler refused it", "build": build}
    return Evaluation(**{**settings, **changes})


def source(index: int) -> str:
    return f"// candidate {index}\nint rows = {index};\n"


def contestant(name: str, p50: float) -> Contestant:
    return Contestant(name=name, p50_us=p50, p90_us=p50 + 1, p99_us=p50 + 2, samples=(p50, p50 + 0.5, p50 - 0.5))


def ratio(value: float) -> Ratio:
    return Ratio(value=value, low=value - 0.1, high=value + 0.1)


def finals(*order: tuple[int, float]) -> Finals:
    """Finals of candidates given as (index, p50), the last of them refused as wrong."""
    passed = [
        Final(
            index=index,
            status=Status.OK,
            cases=41,
            refused=("113 float32",),
            accuracy=(accuracy("113x203 causal", worst=()), accuracy("nan row", math.nan)),
            time=contestant(f"candidate {index}", p50),
            cold=timing(p50 * 3, "cold"),
            ratios={"sdpa": ratio(30 / p50), "eager": ratio(90 / p50)},
            vs_best=ratio(30 / p50),
            best_baseline="sdpa",
            vs_math=ratio(60 / p50),
        )
        for index, p50 in order[:-1]
    ]
    wrong = Final(index=order[-1][0], status=Status.WRONG, reason="rms above its bound on 1x1", cases=3)
    baselines = (contestant("sdpa", 30.0), contestant("eager", 90.0))
    return Finals(
        finalists=(*passed, wrong),
        baselines=baselines,
        baseline_failures={"sdpa-cudnn": "no GPU"},
        versions={"eager": "0.0.34", "mine:attention": ""},
        rounds=9,
        conditions=Conditions(clock_mhz=(1700.0, 1755.0, 1980.0), thrown_away=2),
        sanitized={f"candidate {index}": "memcheck: no errors on 8 problems" for index, _ in order},
    )


def small_run(store: RunStore, *, with_finals: bool = True) -> int:
    """Eight candidates: 0 and 1 seeds, 2 of both, 3 of 2, 4 failed, 5 a diamond of 2 and 3, 6 as 5, 7 wrong."""
    run = begin(store)
    evaluations = [
        (candidate(0), ok(40.0)),
        (candidate(1, family="cpu_simple"), ok(50.0)),
        (candidate(2, 0, 1, operator="crossover"), ok(30.0)),
        (candidate(3, 2), ok(25.0)),
        (candidate(4, 3), failed()),
        (candidate(5, 3, 2, operator="crossover"), ok(20.0)),
        (candidate(6, 5), ok(20.0, status=Status.DUPLICATE, stage=Stage.BUILD, duplicate_of=5, seconds=0.0)),
        (candidate(7, 5), failed(Status.WRONG, stage=Stage.CORRECTNESS, accuracy=(accuracy(error=math.inf),))),
    ]
    for one, evaluation in evaluations:
        store.record(run, one, evaluation, source(5 if one.index == 6 else one.index), "cpp")
    store.record_insight(run, 2, "family", "cpu_flash leads", {"share": 0.75, "best": math.nan})
    if with_finals:
        store.record_finals(run, finals((5, 19.0), (3, 24.0), (0, 40.0)))
    store.finish_run(run, status="done", reason="the budget is spent", elapsed_s=12.5)
    return run
