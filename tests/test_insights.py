import random

import pytest

from evoflash.core.archive import Archive
from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import BuildReport
from evoflash.core.genome import Genome
from evoflash.core.status import Status
from evoflash.run.insights import bound, failing, importance, is_due, observe, silent
from tests.helpers import FLAG, categorical, failed, ordinal, right, space

SPACE = space(
    {"rows": ordinal(16, 32, 64), "layout": categorical("a", "b", "c"), "fast": FLAG},
    derived={"threads": "rows * 4"},
)
DEVICE = {
    "registers_per_multiprocessor": 65536,
    "shared_bytes_per_multiprocessor": 100_000,
    "max_threads_per_multiprocessor": 2048,
}


def run(judge, count=60, seed=0):
    """An archive of random genomes, judged by a function."""
    archive, rng = Archive(), random.Random(seed)
    for number in range(count):
        genome = SPACE.sample(rng)
        archive.add(Candidate(number, "small", genome, "random"), judge(genome))
    return archive


def test_the_gene_that_decides_has_all_the_variance():
    archive = run(lambda genome: right({16: 10.0, 32: 20.0, 64: 40.0}[genome["rows"]]))
    (found,) = importance("small", archive.ok(), SPACE)
    assert found.data["shares"]["rows"] == pytest.approx(1.0)
    assert found.data["shares"]["layout"] < 0.3
    assert found.text.startswith("small: what decides alone: rows 100%")
    assert importance("small", archive.ok()[:5], SPACE) == []
    assert importance("small", run(lambda _: right(5.0)).ok(), SPACE) == []


def test_a_value_that_always_fails_is_named_with_how():
    def judge(genome):
        return failed(Status.BUILD_FAILED) if genome["layout"] == "b" else right(10.0)

    (found,) = failing("small", list(run(judge)))
    assert (found.data["gene"], found.data["value"]) == ("layout", "b")
    assert set(found.data["statuses"]) == {"build_failed"}
    assert "layout=b has failed in all" in found.text
    assert failing("small", list(run(lambda _: failed()))) == []  # no gene is to blame where nothing is right


def test_a_gene_that_changes_no_machine_code_is_named():
    def judge(genome):
        return right(10.0, build=BuildReport(binary_digest=f"{genome['rows']} {genome['layout']}"))

    (found,) = silent("small", list(run(judge)))
    assert found.data["gene"] == "fast"
    assert found.data["pairs"] >= 3


def test_what_bounds_the_best_is_worked_out_by_hand():
    build = BuildReport(registers=128, shared_bytes=24_000)
    member = Archive().add(
        Candidate(0, "small", Genome({"rows": 32, "layout": "a", "fast": True}), "random"), right(5.0, build=build)
    )
    (found,) = bound(member, SPACE, DEVICE)
    # 128 threads: 65536 / (128 * 128) = 4 blocks by registers, 4 by shared memory, 16 by threads
    assert found.data["blocks"] == {"registers": 4, "threads": 16, "shared memory": 4}
    assert found.data["bound"] == "registers"
    assert found.data["occupancy"] == 4 * 128 / 2048
    assert "occupancy 25%" in found.text
    assert "waves" not in found.text


@pytest.mark.parametrize(
    ("grid", "says", "bounded", "occupancy"),
    [
        (1320, "1320 blocks over 132 multiprocessors are 2.50 waves, the last 50% full", "registers", 0.25),
        (1056, "1056 blocks over 132 multiprocessors are 2.00 waves, the last 100% full", "registers", 0.25),
        (128, "128 blocks over 132 multiprocessors are 0.24 waves", "the number of blocks", 128 / 2048),
        (264, "264 blocks over 132 multiprocessors are 0.50 waves", "the number of blocks", 2 * 128 / 2048),
    ],
)
def test_waves_over_the_processors(grid, says, bounded, occupancy):
    wide = space({"rows": ordinal(32)}, derived={"threads": "rows * 4", "grid_blocks": str(grid)})
    build = BuildReport(registers=128, shared_bytes=24_000)  # four blocks a multiprocessor, as above
    member = Archive().add(Candidate(0, "small", Genome({"rows": 32}), "random"), right(5.0, build=build))
    (found,) = bound(member, wide, {**DEVICE, "multiprocessors": 132})
    assert says in found.text
    assert found.text.startswith(f"small: {bounded} bound the best")
    assert (found.data["bound"], found.data["waves"]) == (bounded, pytest.approx(grid / 528))
    assert found.data["occupancy"] == occupancy


def test_a_strategy_that_talks_is_heard_and_a_silent_one_is_not():
    class Speaker:
        def figures(self):
            return {"island one 0": {"niches": 3, "restarts": 2}}

    archive = run(lambda genome: right(float(genome["rows"])))
    kinds = [each.kind for each in observe(archive, {"small": SPACE}, DEVICE, Speaker())]
    assert kinds == ["importance", "population"]
    assert [each.kind for each in observe(archive, {"small": SPACE}, DEVICE, object())] == ["importance"]
    assert observe(Archive(), {"small": SPACE}, DEVICE) == []


def test_a_long_run_is_looked_at_less_often():
    assert [count for count in range(1, 2001) if is_due(count)] == [*range(50, 1001, 50), 1500, 2000]
