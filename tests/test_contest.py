"""The finals, on made-up builds and verdicts: who enters, who is out, and what is built."""

from pathlib import Path

import pytest

from evoflash import targets
from evoflash.codegen.template import load
from evoflash.codegen.toolchain import Build
from evoflash.core.archive import Archive
from evoflash.core.candidate import Proposal
from evoflash.core.evaluation import BuildReport
from evoflash.core.finals import Contestant, Final, Finals
from evoflash.core.genome import Genome
from evoflash.core.status import Status
from evoflash.evaluator import Evaluator, sanitizers
from evoflash.evaluator.sanitizers import Finding
from evoflash.run.contest import Contest
from evoflash.run.local_scheduler import LocalScheduler
from tests.helpers import PROBLEM, TINY, plan, right
from tests.made_up import MadeUpEvaluator, MadeUpToolchain

LONG = PROBLEM.model_copy(update={"seq_q": 64, "seq_kv": 64})


class ScriptedFinals(MadeUpEvaluator):
    """In the finals the named candidates pass, all others are wrong."""

    def __init__(self, problem, *passing: int):
        super().__init__(problem, MadeUpToolchain())
        self.passing = passing
        self.finalists = []
        self.general: int | None = 0  # the best takes every size
        self.asked = 0

    def finals(self, finalists, rounds: int) -> Finals:
        self.finalists += finalists
        return Finals(finalists=tuple(self._final(each.index) for each in finalists), baselines=(), rounds=rounds)

    def passes(self, build, case) -> bool:
        self.asked += 1
        return self.general == self.asked - 1

    def _final(self, index: int) -> Final:
        if index not in self.passing:
            return Final(index=index, status=Status.WRONG, reason=f"{index} falls")
        time = Contestant(name=f"candidate {index}", p50_us=1.0, p90_us=1.0, p99_us=1.0, samples=(1.0, 1.0))
        return Final(index=index, status=Status.OK, time=time)


class CountingTemplate:
    """The tiny family, which remembers what it has rendered."""

    def __init__(self):
        self._template = load("tiny", [TINY])
        self.rendered = []

    def __getattr__(self, name: str):
        return getattr(self._template, name)

    def render(self, genome, problem, device):
        self.rendered.append((genome, problem))
        return self._template.render(genome, problem, device)


class Refusing(MadeUpToolchain):
    """Builds all sources but one."""

    def __init__(self, refused: str):
        super().__init__()
        self.refused = refused

    def build(self, source):
        if source.text == self.refused:
            return Build(BuildReport(), None, Status.BUILD_FAILED, "no such statement")
        return super().build(source)


class Setup:
    """A contest and all that it needs, and what it says and records."""

    def __init__(self, evaluators, toolchain=None, sanitize: bool = False):
        target, self.template = targets.detect("cpu"), CountingTemplate()
        self.toolchain = toolchain or MadeUpToolchain()
        self.said: list[str] = []
        self.recorded: list[Finals] = []
        only, evaluator = plan(target, "tiny", TINY), Evaluator(evaluators)
        self.scheduler = LocalScheduler([only], [target], self.toolchain, lambda *_: evaluator)
        problems = {name: each.problem for name, each in evaluators.items()}
        self.contest = Contest(
            0,
            problems,
            target,
            {"tiny": self.template},
            self.scheduler,
            self.said.append,
            sanitize=sanitize,
        )
        archive = Archive()
        for number in range(5):
            genome = Genome({"work": number + 1, "split": 1, "layout": "rows", "comment": False, "unused": False})
            archive.add(Proposal("tiny", genome, "made up").numbered(number), right(10.0 + number))
        self.ranking = archive.ok()

    def run(self, finalists: int = 2) -> Finals | None:
        try:
            return self.contest.run_finals(self.ranking, finalists, 3, self.recorded.append)
        finally:
            self.scheduler.close()


@pytest.mark.parametrize("several", [False, True])
def test_each_finalist_is_rendered_and_built_once_whatever_the_shapes(several):
    evaluators = {"short": ScriptedFinals(PROBLEM, 0, 1), **({"long": ScriptedFinals(LONG, 0, 1)} if several else {})}
    setup = Setup(evaluators)
    found = setup.run()
    assert found is not None
    assert found.winner is not None
    for member in setup.ranking[:2]:
        problems = [problem for genome, problem in setup.template.rendered if genome == member.candidate.genome]
        assert problems[0] == PROBLEM
        assert PROBLEM not in problems[1:]
        assert not any(setup.template.same_constants(each, PROBLEM) for each in problems[1:])
    assert (
        len(setup.toolchain.sources) == len(set(setup.toolchain.sources)) == 2 * 2
    )  # the family has `causal` built in
    for evaluator in evaluators.values():
        assert [each.index for each in evaluator.finalists] == [0, 1]
    own = {each.library for each in evaluators["short"].finalists}
    assert all(each.library in own for evaluator in evaluators.values() for each in evaluator.finalists)


def test_the_best_that_takes_every_size_enters_too():
    evaluator = ScriptedFinals(PROBLEM, 1)
    evaluator.general = 3
    setup = Setup({"short": evaluator})
    setup.run()
    assert [[final.index for final in each.finalists] for each in setup.recorded] == [[0, 1, 3]]
    assert setup.said[1:] == ["finals of short: also candidate 3, the best that takes every size"]


def test_it_enters_once_and_where_there_is_none_the_best_go_alone():
    evaluator = ScriptedFinals(PROBLEM, 4)
    evaluator.general = 3
    setup = Setup({"short": evaluator})
    setup.run()
    assert [each.index for each in evaluator.finalists] == [0, 1, 3, 2, 4]
    alone = ScriptedFinals(PROBLEM, 1)
    alone.general = None
    setup = Setup({"short": alone})
    setup.run()
    assert (alone.asked, [each.index for each in alone.finalists]) == (5, [0, 1])


def test_if_none_passes_the_next_ones_enter_until_one_does():
    setup = Setup({"short": ScriptedFinals(PROBLEM, 3)})
    found = setup.run()
    assert found is not None
    assert found.winner is not None
    assert found.winner.index == 3
    assert [[final.index for final in each.finalists] for each in setup.recorded] == [[0, 1], [2, 3, 0, 1]]
    assert setup.recorded[-1] == found
    assert setup.said == [
        "finals of short: 2 candidates on every case, then against the baselines",
        "finals of short: none has passed (0 falls); the next 2 candidates on every case, then against the baselines",
    ]


def test_if_nobody_passes_the_standings_have_no_winner():
    setup = Setup({"short": ScriptedFinals(PROBLEM)})
    found = setup.run()
    assert found is not None
    assert found.winner is None
    assert sorted(final.index for final in found.finalists) == [0, 1, 2, 3, 4]
    assert len(setup.recorded) == 3
    setup = Setup({"short": ScriptedFinals(PROBLEM)})
    setup.ranking = []
    assert setup.run() is None
    assert setup.recorded == []


@pytest.mark.parametrize(("several", "where"), [(False, ""), (True, "short: ")])
def test_a_kernel_that_does_not_build_for_a_case_is_out(several, where):
    evaluators = {"short": ScriptedFinals(PROBLEM, 0, 1), **({"long": ScriptedFinals(LONG, 0, 1)} if several else {})}
    genome, causal = Setup(evaluators).ranking[0].candidate.genome, PROBLEM.model_copy(update={"causal": True})
    setup = Setup(evaluators, Refusing(load("tiny", [TINY]).render(genome, causal, targets.detect("cpu").facts).text))
    found = setup.run()
    assert found is not None
    assert [(each.index, each.status, each.reason) for each in found.finalists] == [
        (1, Status.OK, ""),
        (0, Status.BUILD_FAILED, f"{where}no such statement"),
    ]
    assert [each.index for evaluator in evaluators.values() for each in evaluator.finalists] == [1] * len(evaluators)


@pytest.mark.parametrize(("several", "where", "name"), [(False, "", ""), (True, "short: ", "short, ")])
def test_a_finding_of_a_sanitizer_is_out_and_on_record(several, where, name, monkeypatch):
    def run(target, toolchain, source, problem, build):
        assert problem == PROBLEM
        watched.append(build.library)
        clean = source.text != dirty
        return [Finding(tool="address", clean=clean, summary="nothing" if clean else "READ of size 4")]

    watched: list[Path] = []
    monkeypatch.setattr(sanitizers, "run", run)
    evaluators = {"short": ScriptedFinals(PROBLEM, 0, 1), **({"long": ScriptedFinals(LONG, 0, 1)} if several else {})}
    setup = Setup(evaluators, sanitize=True)
    dirty = setup.template.render(setup.ranking[0].candidate.genome, PROBLEM, targets.detect("cpu").facts).text
    found = setup.run()
    assert found is not None
    assert [(each.index, each.status, each.reason) for each in found.finalists] == [
        (1, Status.OK, ""),
        (0, Status.WRONG, f"{where}sanitizer: address: READ of size 4"),
    ]
    assert found.sanitized == {
        f"{name}candidate 0": "address: READ of size 4",
        f"{name}candidate 1": "address: nothing",
    }
    assert evaluators["short"].finalists[0].library in watched
