"""`evoflash.search`: called twice, from a thread, within an event loop, interrupted; with errors of evoflash alone."""

import asyncio
import dataclasses
import inspect
import subprocess
import sys
import threading

import pytest

import evoflash
from evoflash.api.prepared import PreparedSearch
from evoflash.api.request import SearchRequest
from evoflash.cli.search import search as command
from evoflash.core.status import Status
from evoflash.errors import EvoflashError, UsageError
from tests.helpers import SHAPE, TINY
from tests.made_up import MadeUpToolchain, made_up_search

OTHER = "b=1,h=2,s=40,d=16,dtype=fp32"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A working directory, where results are made up from the sources alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVOFLASH_DB", raising=False)

    def search(self, store, progress):
        return made_up_search(self.plans, self.device, MadeUpToolchain(), store, progress, self.run_ids)

    monkeypatch.setattr(PreparedSearch, "search", search)
    return tmp_path


def searched(*shape: str, **changes) -> evoflash.Run:
    options = {"templates": TINY, "family": "tiny", "target": "cpu", "effort": "least", "budget": 6, "baseline": "none"}
    return evoflash.search(shape or SHAPE, **{**options, **changes})


def story(run: evoflash.Run) -> list[tuple]:
    frame = run.candidates()
    return list(zip(frame["index"], frame.genome_digest, frame.status, frame.p50_us.fillna(0.0), strict=True))


def test_a_run_of_which_each_result_is_told():
    told = []
    run = searched(on_result=told.append)
    assert run == evoflash.open_run("latest") == evoflash.Run(1, "runs/evoflash.db")
    assert sorted(result.candidate.index for result in told) == list(range(6))
    least = None
    for result in told:
        fitness = result.evaluation.fitness_us
        if fitness is not None and result.evaluation.status is Status.OK and (least is None or fitness < least):
            least = fitness
            assert result.is_best
        else:
            assert not result.is_best
        assert result.shape == SHAPE
        assert result.best_us == least
        assert (result.best is None) == (least is None)
    assert told[-1].best is not None
    assert run.summary.best_index == told[-1].best.index


def test_python_and_the_command_have_the_options_and_defaults_of_a_request():
    """They stand three times: types for Python, words and types for --help, and what both come to."""
    request = {each.name: each.default for each in dataclasses.fields(SearchRequest)}
    alone = {  # what is not asked of the search itself
        evoflash.search: ({"on_result"}, {"calls", "report"}),
        command: ({"out", "each_device_kind", "events", "quiet", "as_json"}, set()),
    }
    for function, (own, lacking) in alone.items():
        options = {name: each.default for name, each in inspect.signature(function).parameters.items()}
        assert options.keys() - own == request.keys() - lacking
        shared = options.keys() & request.keys()
        assert {name: options[name] or None for name in shared} == {name: request[name] or None for name in shared}


def test_it_prints_nothing(capfd):
    searched()
    assert capfd.readouterr() == ("", "")


def test_the_same_seed_twice_in_a_process_and_from_a_thread():
    first = searched(seed=3, warm_start="none")
    second = searched(seed=3, warm_start="none")
    found = []
    thread = threading.Thread(target=lambda: found.append(searched(seed=3, warm_start="none")))
    thread.start()
    thread.join()
    assert [first.id, second.id, found[0].id] == [1, 2, 3]
    assert story(first) == story(second) == story(found[0])


def test_within_a_running_event_loop():
    async def notebook() -> evoflash.Run:
        return searched()

    assert asyncio.run(notebook()).summary.candidates == 6


def test_several_shapes_are_siblings():
    run = searched(SHAPE, OTHER)
    assert [each.id for each in run.siblings] == [2]
    assert run.siblings[0].summary.problem_label == "1x2x40x16 float32"
    robust = searched(SHAPE, OTHER, score="robust")
    assert robust.siblings == ()
    assert " and " in robust.summary.problem_label


class StopError(Exception):
    """What the user's own code raises."""


@pytest.mark.parametrize(("raised", "status"), [(StopError("enough"), "failed"), (KeyboardInterrupt(), "interrupted")])
def test_what_a_callback_raises_ends_the_search_which_can_be_resumed(raised, status):
    def stop_at_the_third(result):
        told.append(result)
        if len(told) == 3:
            raise raised

    whole = searched(seed=5, warm_start="none")
    told = []
    with pytest.raises(type(raised)) as caught:
        searched(seed=5, warm_start="none", on_result=stop_at_the_third)
    assert caught.value is raised
    run = evoflash.open_run("latest")
    recorded = run.summary.candidates
    assert run.summary.status == status
    assert recorded in range(3, len(story(whole)) + 1)  # what came together is recorded together, then told
    again = []
    assert run.resume(on_result=again.append) == run
    assert len(again) == len(story(whole)) - recorded
    assert run.summary.status == "done"
    assert story(run) == story(whole)
    with pytest.raises(UsageError, match="run 2 is done"):
        run.resume()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shape": "nowhere"}, "unknown shape 'nowhere'"),
        ({"shape": "b=1"}, "'h' is missing"),
        ({"family": "absent"}, "unknown template 'absent'"),
        ({"strategy": "evolutoin"}, "did you mean 'evolution'"),
        ({"effort": "most"}, "unknown effort 'most'"),
        ({"budget": 0}, "budget"),
        ({"minutes": float("nan")}, "minutes"),
        ({"score": "best"}, "score 'best' is unknown"),
        ({"dtype": "fp8"}, "fp8"),
        ({"target": "tpu"}, "tpu"),
        ({"arch": "sm_90a"}, "--arch means nothing for CPU kernels"),
        ({"no_spills": True}, "--no-spills means nothing for CPU kernels"),
        ({"warm_start": "newest"}, "--warm-start takes auto, none or a run"),
        ({"warm_start": 9}, "there are no runs|there is no run 9|evoflash search"),
        ({"baseline": "absent"}, "unknown baseline 'absent'"),
        ({"problem": "absent.py"}, "there is no file absent.py"),
        ({"jobs": 0}, "jobs"),
        ({"db": "mongo://x"}, "mongo"),
        ({"seed": 2**70}, "beyond 64 bits|seed"),
    ],
)
def test_bad_input_is_an_error_of_evoflash_and_begins_nothing(place, options, says):
    shape = options.pop("shape", SHAPE)
    with pytest.raises(EvoflashError, match=says):
        searched(shape, **options)


SCRIPT = """
import evoflash

run = evoflash.search(
    "{shape}", templates=r"{templates}", family="tiny", target="cpu", effort="least", budget=2, jobs=2, baseline="none"
)
print(run.best.status, run.summary.candidates, len(run.speed()), run.export("fast").package)
"""


@pytest.mark.long  # real builds and finals; tests/cli/test_rivals.py has a real search of the command
def test_a_script_without_a_guard_searches_with_real_builds_and_exports(place):
    """No process that a search starts imports the script again, as `multiprocessing` would."""
    (place / "script.py").write_text(SCRIPT.format(shape=SHAPE, templates=TINY))
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["ok", "2", "3", "evoflash_attention_b_1_h_2_s_32_d_16_dtype_fp32"]
    assert done.stderr == ""
    assert (place / "fast" / "README.md").exists()
