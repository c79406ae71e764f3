"""A made-up search whose figures are known: one gene decides, one value of another fails."""

from evoflash.core.candidate import Candidate
from evoflash.core.genome import Genome
from evoflash.core.status import Stage, Status
from evoflash.store import RunStore
from tests.store import runs
from tests.store.runs import PROBLEM, failed, ok

FACTS = {
    "arch": 90,
    "multiprocessors": 132,
    "registers_per_multiprocessor": 65536,
    "shared_bytes_per_multiprocessor": 233472,
    "max_threads_per_multiprocessor": 2048,
}
MACHINE = {"device": "NVIDIA made up", "facts": FACTS, "max_sm_clock_mhz": 1980, "empty_launch_us": 0.5}
HOSTILE = "</script><script>alert(1)</script> <b>bold</b> & `tick`"
COUNT = 60


def plan(name: str = "made-up", **changes):
    shapes = [{"name": name, "problem": PROBLEM.to_dict()}]
    settings = {"families": ["mma"], "strategy": "evolution", "seed": 7, "target": "cuda", "builders": 2, "window": 4}
    effort = {"budget": 100, "minutes": 1, "finalists": 3, "rounds": 2, "samples": 3, "quick_samples": 2, "window": 2}
    deadlines = {"build_deadline_s": 60, "evaluate_deadline_s": 30}
    effort |= {"patience_percent": None}
    return {"shapes": shapes, **settings, "effort": effort, "effort_name": "quick", **deadlines, **changes}


def begin(store: RunStore, **changes) -> int:
    return runs.begin(store, **{"target": "cuda", "machine": MACHINE, "plan": plan(), **changes})


def genome(index: int) -> Genome:
    genes = {"rows": (16, 32, 64)[index % 3], "stages": 1 + index % 4, "threads": 128, "load": "ab"[index // 3 % 2]}
    return Genome({**genes, "swizzle": index % 5})


def us(index: int) -> float:
    """The time is that of `rows`, less what later candidates gain."""
    return {16: 40.0, 32: 20.0, 64: 10.0}[(16, 32, 64)[index % 3]] * (1 - index / 1000)


def search(store: RunStore, *, with_finals: bool = True, faster: float = 1.0, **changes) -> int:
    """Sixty candidates; those with stages=4 are wrong, and every seventh other one repeats its parent."""
    run = begin(store, **changes)
    for index in range(COUNT):
        parents = (index - 3,) if index >= 3 else ()
        one = Candidate(index, "mma", genome(index), "step" if parents else "seed", parents)
        if index % 4 == 3:
            found = failed(Status.WRONG, stage=Stage.CORRECTNESS, reason=HOSTILE)
        else:
            found = ok(us(index) / faster)
        lines = "\n".join(f"constexpr int line_{line} = {line};" for line in range(40))
        store.record(run, one, found, f"// candidate {index}\n#include <a>\n{lines}\nint rows = {index};\n", "cuda")
    if with_finals:
        store.record_finals(run, runs.finals((56, 9.0 / faster), (53, 9.4 / faster), (1, 20.0)))
        store.record_insight(run, 0, "throughput", "98 candidates a minute; busy: device 95%", {"device_busy": 0.95})
        store.finish_run(run, status="done", reason="the budget is spent", elapsed_s=12.5)
    return run
