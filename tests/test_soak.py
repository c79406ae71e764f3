"""The soak: its faults are injected at a rate and get their verdicts, and what grows is told from what is flat."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evoflash.codegen.template import load
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.archive import Archive
from evoflash.core.candidate import Proposal
from evoflash.core.genome import Genome
from evoflash.problems import attention
from evoflash.targets import cuda

from .helpers import failed, right

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import soak
from faults import GENE, NONE, VERDICTS, Injector, Tally
from vitals import Sample, Worker, judge, within_lives

MIB = 1024**2
FACTS = {"cpu": {"cores": 2}, "cuda": cuda._facts(90)}


class Proposer:
    """One that has nothing but a space."""

    def __init__(self, target: str):
        problem = attention.parse(soak.TINY)
        self.family = soak.FAMILIES[target]
        self._spaces = {self.family: load(self.family, (soak.FOLDER,)).space([problem], FACTS[target])}

    def ask(self, archive: Archive) -> Proposal:
        return Proposal(self.family, Genome({"work": 1, GENE: NONE, "number": len(archive)}), "plain")


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_one_proposal_in_five_has_a_fault_and_the_kinds_take_turns(target: str):
    proposer, archive = Proposer(target), Archive()
    ask = Injector(5).wrapped(Proposer.ask)
    asked = []
    for number in range(300):
        proposal = ask(proposer, archive)
        assert proposal is not None
        assert not archive.has(proposal.family, proposal.genome)
        archive.add(proposal.numbered(number), right(1.0))
        asked.append(proposal)
    injected = asked[4::5]
    assert [each.genome[GENE] for each in injected] == [*VERDICTS] * 20
    (space,) = proposer._spaces.values()
    assert not any(space.violations(each.genome) for each in injected)
    assert {each.operator for each in injected} == {"injected"}
    assert sum(each.operator == "injected" for each in asked) == 60


@pytest.mark.long  # many kernels
def test_a_random_genome_hardly_has_a_fault():
    (space,) = Proposer("cuda")._spaces.values()
    faulty = sum(genome[GENE] != NONE for genome in space.genomes())
    assert 0.005 < faulty / sum(1 for _ in space.genomes()) < 0.02


def test_a_fault_wants_its_verdict_and_others_none():
    tally = Tally()
    genomes = [{GENE: "hang"}, {GENE: "crash"}, {GENE: NONE}, {GENE: NONE}, {"rows": 64}]
    statuses = [VERDICTS["hang"], VERDICTS["hang"], VERDICTS["crash"], None, VERDICTS["crash"]]
    for number, (genes, status) in enumerate(zip(genomes, statuses, strict=True)):
        candidate = Proposal("soak", Genome(genes), "random").numbered(number)
        tally.add(candidate, right(1.0) if status is None else failed(status))
    assert tally.ended == {"hang": {"hung": 1}, "crash": {"hung": 1}, "illegal_address": {}}
    assert [each.split(":")[0] for each in tally.unexpected] == ["1 (crash)", "2 (none)"]


def samples(devices: int = 1, **growth: float) -> list[Sample]:
    """A second apart, with ten candidates each, growing by so much a candidate; of workers that of the last device."""

    def grown(name: str, value: int, number: int) -> int:
        return int(value + growth.get(name, 0) * 10 * number)

    return [
        Sample(
            seconds=number,
            candidates=10 * number,
            driver_bytes=grown("driver_bytes", 200 * MIB, number),
            driver_files=grown("driver_files", 20, number),
            zombies=grown("zombies", 0, number),
            workers=tuple(
                Worker(
                    device,
                    number // 25,
                    grown("worker_bytes" if device == devices - 1 else "", 300 * MIB, number),
                    grown("worker_files" if device == devices - 1 else "", 9, number),
                )
                for device in range(devices)
            ),
        )
        for number in range(100)
    ]


@pytest.mark.parametrize(
    ("growth", "grown"),
    [
        ({}, []),
        ({"driver_bytes": 6 * 1024}, []),  # what it keeps of each candidate
        ({"driver_bytes": 20 * 1024}, ["driver"]),
        ({"worker_bytes": 20 * 1024}, ["worker"]),
        ({"driver_files": 0.01, "worker_files": 0.01}, ["driver's open files", "open files of the worker"]),
        ({"zombies": 0.01}, ["zombies"]),
    ],
)
def test_tells_what_grows_from_what_is_flat(growth: dict[str, float], grown: list[str]):
    found = judge(samples(**growth))
    assert [each["name"] for each in found if not each["is_flat"]] == grown
    assert len(found) == 5  # no GPU was looked at


def test_names_the_device_whose_worker_grows():
    found = judge(samples(devices=2, worker_bytes=20 * 1024))
    assert [each["name"] for each in found if not each["is_flat"]] == ["worker of GPU 1"]
    assert len(found) == 7


def test_growth_of_a_worker_that_is_replaced_before_it_shows():
    sawtooth = [
        Sample(
            each.seconds,
            each.candidates,
            1,
            1,
            0,
            tuple(Worker(0, worker.process, 300 * MIB + 4096 * (each.candidates % 250), 9) for worker in each.workers),
        )
        for each in samples()
    ]
    assert [each["name"] for each in judge(sawtooth) if not each["is_flat"]] == []
    assert within_lives(sawtooth) == pytest.approx(4.0)


def test_too_few_samples_say_nothing():
    assert judge(samples()[:7]) == []


@pytest.mark.nvcc
@pytest.mark.parametrize("fault", [NONE, *VERDICTS])
def test_each_kind_of_the_cuda_family_builds_and_every_mark_is_another_kernel(fault: str, tmp_path: Path):
    target, problem = cuda.of_arch("sm_90a"), attention.parse(soak.TINY)
    template = load("soak_cuda", (soak.FOLDER,))
    genes = {"work": 8, "threads": 64, "split": 1, "layout": "rows", "pause": 7, "stamp": 0, GENE: fault}
    builds = [
        Toolchain(target, tmp_path).build(template.render(Genome({**genes, "mark": mark}), problem, target.facts))
        for mark in (0, 1)
    ]
    assert all(each.library is not None for each in builds), builds[0].reason
    assert builds[0].report.binary_digest != builds[1].report.binary_digest
    assert builds[0].report.spill_bytes == 0


@pytest.mark.long
def test_a_soak_with_faults_on_a_cpu(tmp_path: Path):
    out = tmp_path / "soak.json"
    command = [sys.executable, soak.__file__, "--budget", "12", "--faults", "4", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    run = json.loads(out.read_text())
    assert run["candidates"] == 12
    assert run["faults"] == {"hang": {"hung": 1}, "crash": {"crashed": 1}, "illegal_address": {"crashed": 1}}
    assert run["unexpected"] == []
    assert run["left_over"] == {"processes": [], "files": []}
    assert "one fault in 4 candidates" in done.stdout.lower()
