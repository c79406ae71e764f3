"""Baselines of other packages, by stand-ins with the signatures of the real ones; and what of them is not timed."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

from evoflash import targets
from evoflash.core.finals import Contestant
from evoflash.core.status import Status
from evoflash.errors import UsageError
from evoflash.evaluator import racing as races
from evoflash.evaluator.messages import Race, Raced
from evoflash.evaluator.racing import RIVAL_DEADLINE_S, Racing, require_functions
from evoflash.evaluator.sandbox import Sandbox, WorkerDeath
from evoflash.evaluator.shape_evaluator import ShapeEvaluator
from evoflash.problems.attention import AttentionProblem, rivals
from evoflash.problems.rival import is_installed
from evoflash.targets import cuda
from evoflash.worker.kernel_timer import KernelTimer
from evoflash.worker.references import References
from tests.helpers import FIXTURES, PROBLEM

RIVALS = {each.name: each for target in ("cuda", "cpu") for each in rivals.of_attention(target)}
PACKAGES = ("flash-attn-2", "flash-attn-3", "flash-attn-4", "xformers", "flashinfer-prefill", "flashinfer-decode")

PLAIN = AttentionProblem.of(2, 4, 32, 16, dtype="bfloat16")
BOTTOM_RIGHT = PLAIN.model_copy(update={"causal": True, "seq_kv": 40, "align": "bottom_right"})
PACKED = PLAIN.model_copy(update={"batch": 4, "kv_heads": 2, "layout": "packed", "lengths": "9+32+1+17"})
SHAPES = {
    "plain": PLAIN,
    "scaled": PLAIN.model_copy(update={"scale": 0.5}),
    "grouped": PLAIN.model_copy(update={"kv_heads": 2, "seq_kv": 48}),
    "causal": PLAIN.model_copy(update={"causal": True}),
    "grouped causal": PLAIN.model_copy(update={"kv_heads": 1, "causal": True}),
    "decode": PLAIN.model_copy(update={"kv_heads": 1, "seq_q": 1, "seq_kv": 40}),
    "more rows than keys": PLAIN.model_copy(update={"causal": True, "seq_kv": 20}),
    "causal bottom-right": BOTTOM_RIGHT,
    "window": PLAIN.model_copy(update={"window": (5, 2)}),
    "window to the right": PLAIN.model_copy(update={"window": (None, 2), "seq_kv": 40, "align": "bottom_right"}),
    "causal window": BOTTOM_RIGHT.model_copy(update={"window": (7, 0)}),
    "decode in a window": BOTTOM_RIGHT.model_copy(update={"seq_q": 1, "window": (7, 0), "softcap": 2.0}),
    "value size": PLAIN.model_copy(update={"value_dim": 24}),
    "softcap": BOTTOM_RIGHT.model_copy(update={"softcap": 2.0}),
    "slopes": PLAIN.model_copy(update={"alibi": True, "seq_kv": 40, "align": "bottom_right"}),
    "sinks": BOTTOM_RIGHT.model_copy(update={"sinks": True, "window": (9, 0)}),
    "mask": PLAIN.model_copy(update={"mask": "bqk", "causal": True}),
    "mask of keys": PLAIN.model_copy(update={"mask": "k", "kv_heads": 2}),
    "mask of heads": PLAIN.model_copy(update={"mask": "hq", "kv_heads": 2}),
    "bias": PLAIN.model_copy(update={"bias": "hqk", "kv_heads": 2, "window": (9, 9)}),
    "bias of keys": PLAIN.model_copy(update={"bias": "bk"}),
    "packed": PACKED,
    "packed ends": PACKED.model_copy(update={"seq_q": 5, "causal": True, "align": "bottom_right", "window": (7, 0)}),
    "rows first": PLAIN.model_copy(update={"layout": "bshd", "causal": True}),
}

# What each takes beyond the plain forms.
TAKES = {
    "flash-attn-2": {"softcap", "slopes"},
    "flash-attn-3": {"softcap", "value size"},
    "flash-attn-4": {"softcap", "value size", "sinks"},
    "xformers": {"value size"},
    "flashinfer-prefill": {"softcap", "value size", "decode in a window", "mask", "mask of keys"},
    "flashinfer-decode": {"decode", "decode in a window"},
    "onednn-graph": {"value size", "slopes", "mask", "mask of keys", "mask of heads", "bias", "bias of keys"},
    "flex-attention": set(SHAPES) - {"packed", "packed ends"},
}
FORMS = {"rows first", "plain", "scaled", "grouped", "causal", "grouped causal", "decode", "more rows than keys"}
BANDS = {"causal bottom-right", "window", "window to the right", "causal window"}
for name in set(TAKES) - {"flashinfer-decode"}:
    TAKES[name] |= FORMS | BANDS
for name in ("flash-attn-2", "flash-attn-3", "flash-attn-4"):
    TAKES[name] |= {"decode in a window", "packed", "packed ends"}


@pytest.fixture
def stand_ins(monkeypatch):
    """The stand-ins can be imported; yields what they were called with."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(FIXTURES / "rivals")
    importlib.invalidate_caches()
    yield importlib.import_module("computing").calls
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("computing", "flash_attn", "flash_attn_interface", "xformers", "flashinfer"):
            del sys.modules[name]


@pytest.fixture
def on_cpu(monkeypatch):
    """Problems whose rivals of a CPU are those of a GPU, too."""
    monkeypatch.setattr(AttentionProblem, "rivals", lambda self, target: tuple(RIVALS.values()))


@pytest.fixture
def user(tmp_path, monkeypatch):
    """Writes the user's module, which other tests do not see."""

    def write(text: str) -> None:
        (tmp_path / "of_the_user.py").write_text(
            f"import torch\nsdpa = torch.nn.functional.scaled_dot_product_attention\n{text}"
        )
        monkeypatch.syspath_prepend(tmp_path)
        sys.modules.pop("of_the_user", None)

    yield write
    sys.modules.pop("of_the_user", None)


def race(problem, *names: str) -> Raced:
    timer = KernelTimer("cpu", References("cpu"), lambda stage: None)
    return timer.race(Race(problem=problem, libraries={}, rivals=names, rounds=3))


def timed(raced: Raced) -> set[str]:
    return {each.name for each in raced.contestants}


# The packages.


@pytest.mark.parametrize("name", TAKES)
def test_a_rival_says_which_problems_it_takes(name):
    assert {shape for shape, problem in SHAPES.items() if not RIVALS[name].refusal(problem)} == TAKES[name]


@pytest.mark.parametrize(("name", "shape"), [(name, shape) for name in PACKAGES for shape in sorted(TAKES[name])])
def test_a_package_is_called_as_its_signature_says(name, shape, stand_ins):
    rival, problem = RIVALS[name], SHAPES[shape]
    inputs = problem.inputs(0, "normal", "cpu")
    out = rival.bind(problem, inputs)()
    assert isinstance(out, torch.Tensor)
    assert out.shape == problem.output_shape()
    expected = problem.reference(inputs)[0].to(out.dtype)
    torch.testing.assert_close(out, expected, atol=0.02, rtol=0.02)
    (call,) = stand_ins
    assert call["scale"] == problem.softmax_scale
    if name == "flashinfer-prefill":
        assert all(call[each].is_contiguous() for each in "qkv")
    elif name != "xformers" or problem.heads == problem.kv_heads:
        assert [call[each].data_ptr() for each in "qkv"] == [tensor.data_ptr() for tensor in inputs[:3]]


def test_what_is_prepared_is_not_done_again_in_a_call(stand_ins, monkeypatch):
    flashinfer = importlib.import_module("flashinfer")
    problem = SHAPES["decode"]
    for name in ("flashinfer-prefill", "flashinfer-decode"):
        call = RIVALS[name].bind(problem, problem.inputs(0, "normal", "cpu"))
        for wrapper in (flashinfer.BatchPrefillWithRaggedKVCacheWrapper, flashinfer.BatchDecodeWithPagedKVCacheWrapper):
            monkeypatch.setattr(wrapper, "plan", None)
        call()
        monkeypatch.undo()
        monkeypatch.syspath_prepend(FIXTURES / "rivals")
    assert stand_ins[0]["q"].data_ptr() != stand_ins[1]["q"].data_ptr()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"causal": True, "align": "bottom_right"}, ""),
        ({"causal": True, "align": "bottom_right", "seq_q": 5}, "its masks are aligned top-left"),
        ({"kv_heads": 2}, "its heads have keys of their own"),
        ({"softcap": 2.0}, "it takes no softcap"),
    ],
)
def test_nested_tensors_are_a_rival_where_sequences_are_packed(changes, why):
    problem = PACKED.model_copy(update={"kv_heads": 4, **changes})
    (nested,) = (each for each in problem.rivals("cuda") if each.name == "sdpa-nested")
    assert nested.refusal(problem) == why
    if not why and not problem.causal:  # for which there is no kernel on a CPU
        inputs = problem.inputs(0, "normal", "cpu")
        expected = problem.reference(inputs)[0].to(inputs[0].dtype)
        torch.testing.assert_close(nested.bind(problem, inputs)(), expected, atol=0.02, rtol=0.02)


LONGER = PLAIN.model_copy(update={"causal": True, "seq_kv": 64})


@pytest.mark.parametrize(
    ("name", "problem", "words"),
    [
        ("flash-attn-2", PROBLEM, "float16 and bfloat16, not float32"),
        (
            "flash-attn-3",
            LONGER,
            "masks are aligned bottom-right, and cannot hide what is hidden here for 32 rows of 64",
        ),
        ("flash-attn-3", SHAPES["slopes"], "it takes no alibi"),
        ("flash-attn-2", SHAPES["sinks"], "it takes no sinks"),
        ("flash-attn-2", LONGER.model_copy(update={"alibi": True}), "its slopes are aligned bottom-right"),
        ("xformers", SHAPES["bias"], "it takes no bias"),
        ("flashinfer-prefill", SHAPES["mask of heads"], "no mask that differs between heads"),
        ("flash-attn-4", PLAIN.model_copy(update={"head_dim": 264}), "up to 256, not 264"),
        ("flash-attn-4", PLAIN.model_copy(update={"head_dim": 20}), "multiples of 8 up to 256, not 20"),
        ("flashinfer-prefill", PROBLEM, "not float32"),
        ("flashinfer-decode", LONGER.model_copy(update={"seq_q": 1}), "aligned bottom-right"),
        ("onednn-graph", PLAIN.model_copy(update={"dtype": "float16"}), "not float16"),
    ],
)
def test_what_a_package_does_not_take_is_said_before_it_is_imported(name, problem, words):
    assert words in RIVALS[name].refusal(problem)


@pytest.mark.parametrize("name", ["xformers", "flex-attention", "onednn-graph"])
def test_a_mask_aligned_top_left_takes_any_lengths(name):
    assert RIVALS[name].refusal(LONGER) == ""


def test_whether_a_module_is_installed_is_found_out_without_its_parents(tmp_path, monkeypatch):
    (tmp_path / "parent_of").mkdir()
    (tmp_path / "parent_of" / "__init__.py").write_text("raise ImportError('no kernels for this device')\n")
    (tmp_path / "parent_of" / "child.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    found = [is_installed(name) for name in ("parent_of.child", "parent_of.other", "parent_of.child.more", "absent.x")]
    assert found == [True, False, False, False]


def test_version_4_alone_is_not_taken_for_version_2(tmp_path, monkeypatch):
    (tmp_path / "flash_attn" / "cute").mkdir(parents=True)
    (tmp_path / "flash_attn" / "cute" / "interface.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert RIVALS["flash-attn-4"].is_installed
    assert not RIVALS["flash-attn-2"].is_installed


# In a race.


def test_right_rivals_are_timed_and_their_versions_recorded(stand_ins, on_cpu):
    raced = race(PLAIN, *PACKAGES)
    assert timed(raced) == {"sdpa", "sdpa-math", "eager", *PACKAGES} - {"flashinfer-decode"}
    assert raced.failures == {"flashinfer-decode": "it decodes one query at a time, not 32"}
    assert (raced.versions["flash-attn-3"], raced.versions["flashinfer-prefill"]) == ("3.0.0", "0.7.2")
    assert raced.versions["xformers"] == ""
    assert raced.baselines(())[0].p50_us == min(each.p50_us for each in raced.contestants)


def test_a_package_that_is_wrong_or_does_not_import_is_a_failure(tmp_path, monkeypatch, stand_ins, on_cpu):
    interface = importlib.import_module("flash_attn_interface")
    monkeypatch.setattr(interface, "flash_attn_func", lambda q, k, v, **_: q * 0.9)
    (tmp_path / "flashinfer.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    raced = race(PLAIN, "flash-attn-3", "flashinfer-prefill", "xformers")
    assert timed(raced) == {"sdpa", "sdpa-math", "eager", "xformers"}
    assert raced.failures["flash-attn-3"].startswith("seed 0: max error ")
    assert raced.failures["flashinfer-prefill"] == "ImportError: libcudart.so.12: cannot open shared object file"
    assert raced.versions.keys() == {"xformers"}


USERS = """
def right(q, k, v, is_causal=False, scale=None, enable_gqa=False):
    return sdpa(q, k, v, is_causal=is_causal, scale=scale, enable_gqa=enable_gqa)

def sharp(q, k, v, **_):
    return sdpa(q, k, v, scale=0.3)

def half(q, k, v, **_):
    return sdpa(q, k, v).half()

def list_of(q, k, v, **_):
    return [sdpa(q, k, v)]

def overwriting(q, k, v, **_):
    out = sdpa(q, k, v)
    q.zero_()
    return out

def declining(q, k, v, **_):
    raise NotImplementedError("only on Sundays")

known = {}
def remembering(q, k, v, **_):
    if q.data_ptr() not in known:
        known[q.data_ptr()] = sdpa(q, k, v)
    return known[q.data_ptr()]

number = 5
"""
REASONS = {
    "sharp": "seed 0: max error",
    "half": "seed 0: returned (1, 2, 32, 16) torch.float16",
    "list_of": "seed 0: returned a list instead of a tensor",
    "overwriting": "as timed",
    "declining": "NotImplementedError: only on Sundays",
    "remembering": "seed 0, as timed: unexpected NaN",
    "number": "of_the_user:number is not callable",
    "absent": "of_the_user:absent cannot be imported: AttributeError",
}


def test_functions_of_the_user_are_held_to_the_same_bounds(user):
    user(f"__version__ = '7'\n{USERS}")
    raced = race(PROBLEM, *(f"of_the_user:{name}" for name in ("overwriting", *REASONS, "right")))
    assert timed(raced) == {"sdpa", "sdpa-math", "eager", "of_the_user:right"}
    assert raced.versions == {"of_the_user:right": "7"}
    for name, words in REASONS.items():
        assert words in raced.failures[f"of_the_user:{name}"]


def test_launches_outside_the_graph_are_not_timed(user, monkeypatch):
    user(USERS)
    monkeypatch.setattr("evoflash.worker.clock.CpuClock.is_complete", lambda self, captured: False)
    raced = race(PROBLEM, "of_the_user:right")
    assert raced.failures["of_the_user:right"] == "some of its launches are outside the CUDA graph that is timed"


@pytest.mark.parametrize("shape", ["plain", "scaled", "grouped", "grouped causal", "decode"])
def test_onednn_graph_is_right_and_fused(shape):
    for dtype in ("float32", "bfloat16"):
        raced = race(SHAPES[shape].model_copy(update={"dtype": dtype}), "onednn-graph")
        assert "onednn-graph" in timed(raced), raced.failures
        assert raced.versions == {"onednn-graph": torch.__version__}


def test_a_function_that_onednn_graph_does_not_fuse_is_no_rival_of_that_name(monkeypatch):
    monkeypatch.setattr(torch.jit, "last_executed_optimized_graph", lambda: "graph()")
    assert race(PROBLEM, "onednn-graph").failures == {"onednn-graph": "RuntimeError: oneDNN Graph did not fuse it"}


EVERYTHING = AttentionProblem.of(
    2, 4, 48, 16, dtype="float32", kv_heads=2, value_dim=24, softcap=5.0, window=(9, 3), alibi=True, bias="hk"
)


@pytest.mark.long  # each compiles
@pytest.mark.parametrize(
    "problem",
    [EVERYTHING, *(SHAPES[name] for name in SHAPES if name in TAKES["flex-attention"] - {"sinks"})],
)
def test_flex_attention_is_compiled_for_a_problem(problem):
    raced = race(problem, "flex-attention")
    assert "flex-attention" in timed(raced), raced.failures


def test_flex_attention_applies_sinks_to_the_output(monkeypatch):
    """Not compiled, since PyTorch returns no log-sum-exp on a CPU otherwise."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    problem = SHAPES["sinks"].model_copy(update={"dtype": "float32"})
    inputs = problem.inputs(0, "normal", "cpu")
    out = RIVALS["flex-attention"].bind(problem, inputs)()
    torch.testing.assert_close(out, problem.reference(inputs)[0].float(), atol=1e-4, rtol=1e-4)


# What brings the worker down.

REQUEST = Race(problem=PROBLEM, libraries={}, rivals=("a", "b"), rounds=3)
DONE = Raced(contestants=()).model_dump(mode="json")


def death(stage: str) -> WorkerDeath:
    return WorkerDeath(Status.CRASHED, f"SIGSEGV while {stage}", stage)


class Worker:
    """Answers from a list; remembers who was to race."""

    def __init__(self, *answers):
        self.answers, self.asked, self.without = list(answers), [], []

    def __call__(self, request, deadlines_s):
        assert deadlines_s == {f"racing {name}": RIVAL_DEADLINE_S for name in request.rivals}
        self.asked.append(request.rivals)
        self.without.append(request.without)
        return self.answers.pop(0)


def test_a_rival_that_brings_the_worker_down_is_left_out_of_all_races():
    racing, worker = Racing(), Worker(death("racing a"), DONE, DONE)
    for _ in range(2):
        raced = racing.run(worker, REQUEST)
        assert isinstance(raced, Raced)
        assert raced.failures == {"a": "SIGSEGV while racing a"}
    assert worker.asked == [("a", "b"), ("b",), ("b",)]


def test_a_rival_that_is_wrong_once_is_left_out_of_the_later_races():
    wrong = Raced(contestants=(), failures={"b": "max error", "sdpa-cudnn": "no kernel"}, preparation_s={"a": 9.0})
    racing, worker = Racing(), Worker(wrong.model_dump(mode="json"), DONE)
    for failures in (wrong.failures, {"b": "max error"}):
        raced = racing.run(worker, REQUEST)
        assert isinstance(raced, Raced)
        assert raced.failures == failures
    assert worker.asked == [("a", "b"), ("a",)]
    assert racing.out == {"b": "max error"}


def test_a_race_that_dies_with_rivals_and_not_without_is_run_without():
    racing, worker = Racing(), Worker(death("racing all"), DONE, DONE)
    raced = racing.run(worker, REQUEST)
    assert isinstance(raced, Raced)
    assert raced.failures.keys() == {"a", "b"}
    assert racing.run(worker, REQUEST.model_copy(update={"rivals": ()})) == Raced(contestants=())
    assert worker.asked == [("a", "b"), (), ()]


def test_a_baseline_that_brings_the_worker_down_is_left_out_of_all_races():
    racing, worker = Racing(), Worker(death("racing sdpa-math"), death("racing b"), DONE, DONE)
    for _ in range(2):
        raced = racing.run(worker, REQUEST)
        assert isinstance(raced, Raced)
        assert raced.failures == {"sdpa-math": "SIGSEGV while racing sdpa-math", "b": "SIGSEGV while racing b"}
    assert worker.asked == [("a", "b"), ("a", "b"), ("a",), ("a",)]
    assert worker.without == [(), ("sdpa-math",), ("sdpa-math",), ("sdpa-math",)]
    assert racing.out.keys() == {"sdpa-math", "b"}


@pytest.mark.parametrize("stages", [["racing candidate 3"], ["racing all", "racing all"], ["starting"], [""]])
def test_a_death_that_no_baseline_caused_is_the_answer(stages):
    request = REQUEST.model_copy(update={"libraries": {"candidate 3": Path("kernel.so")}})
    answer = Racing().run(Worker(*map(death, stages)), request)
    assert isinstance(answer, WorkerDeath)
    assert answer.stage == stages[-1]


def test_a_function_that_cannot_be_loaded_is_the_users_to_mend():
    with pytest.raises(UsageError, match="--baseline m:f cannot be imported: no m; write module:function"):
        require_functions(Raced(contestants=(), failures={"m:f": "m:f cannot be imported: no m"}))
    require_functions(Raced(contestants=(), failures={"m:f": "seed 0: max error", "xformers": "xformers is missing"}))


UNRULY = """
import os, signal, time

def sleeping(q, k, v, **_):
    time.sleep(600)

def dying(q, k, v, **_):
    os.kill(os.getpid(), signal.SIGSEGV)

def right(q, k, v, is_causal=False, scale=None, enable_gqa=False):
    return sdpa(q, k, v, is_causal=is_causal, scale=scale, enable_gqa=enable_gqa)
"""


@pytest.mark.slow
def test_what_hangs_or_dies_is_out_by_name_and_the_others_are_timed(user, monkeypatch, tmp_path):
    user(UNRULY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(races, "RIVAL_DEADLINE_S", 1.0)
    names = [f"of_the_user:{name}" for name in ("sleeping", "dying", "right")]
    evaluator = ShapeEvaluator(PROBLEM, targets.detect("cpu"), rivals=names)
    try:
        times = evaluator.baselines(rounds=3)
    finally:
        evaluator.close()
    assert times.keys() == {"sdpa", "sdpa-math", "eager", "of_the_user:right"}
    assert evaluator.rivals_out.keys() == {"of_the_user:sleeping", "of_the_user:dying"}
    assert evaluator.rivals_out["of_the_user:sleeping"] == "no response within 1 s while racing of_the_user:sleeping"
    assert evaluator.rivals_out["of_the_user:dying"].startswith("SIGSEGV while racing of_the_user:dying")
    assert evaluator.preparation_s.keys() == {"of_the_user:right"}


def test_a_search_does_not_wait_for_what_compiles_but_its_finals_do(monkeypatch):
    asked = []

    def run(racing, send, request):
        asked.append((request.rivals, request.spare_s))
        return Raced(contestants=(Contestant(name="sdpa-math", p50_us=9.0, p90_us=9.0, p99_us=9.0, samples=(9.0,)),))

    monkeypatch.setattr(Racing, "run", run)
    names = ("of_the_user:right", "flash-attn-3", "flash-attn-4", "flex-attention")
    evaluator = ShapeEvaluator(PROBLEM, cuda.of_arch("sm_90a"), rivals=names, spare_s=0.1)
    try:
        assert evaluator.baselines() == {"sdpa-math": 9.0}
        evaluator.finals([], 30)
    finally:
        evaluator.close()
    assert asked == [(("of_the_user:right", "flash-attn-3"), 0.0), (names, 3.0)]


# What the doctor finds out.


@pytest.mark.slow
def test_imports_that_fail_or_die_are_told_from_those_that_work(tmp_path, monkeypatch):
    (tmp_path / "works.py").write_text("__version__ = '5.1'\ndef f(): ...\n")
    (tmp_path / "fails.py").write_text("raise ImportError('libcudart.so.12: no such file')\n")
    (tmp_path / "dies.py").write_text("import os\nos._exit(3)\n")
    monkeypatch.chdir(tmp_path)
    with Sandbox("cpu") as sandbox:
        probed = races.probe(sandbox, PROBLEM, ["dies:f", "works:f", "fails:f", "flash-attn-5"])
    assert probed.versions == {"works:f": "5.1"}
    assert probed.failures == {
        "dies:f": "exit code 3 while importing dies:f",
        "fails:f": "fails:f cannot be imported: ImportError: libcudart.so.12: no such file",
        "flash-attn-5": "there is none of that name for attention on cpu",
    }
