"""Every mutant is refused by its gate, on the case where it shows first; `report.py` runs them through all cases."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from evoflash import targets
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.status import Gate
from evoflash.targets import cuda
from evoflash.targets.base import usable_cores
from evoflash.targets.cpu import CpuTarget
from evoflash.verify.verification import Verification
from tests.mutants import corpus

CPU, CUDA, FUNCTIONS = corpus.mutants("cpu"), corpus.mutants("cuda"), corpus.functions()
PLAIN = corpus.bases("cpu")["plain"]
# Each is built, so the others are long: of attention the first of each base and of each gate, of functions every sixth.
ATTENTION = [each for each in reversed(CPU) if each.base.function is None]
FIRST = [*{each.base.name: each for each in ATTENTION}.values(), *{each.gates[0]: each for each in ATTENTION}.values()]
QUICK = list({each.name: each for each in FIRST}.values())
QUICK += [each for each in CPU if each.base.function is not None][::6]
DEADLINE_S = 10  # of a case; a right kernel takes a tenth of a second


def build_all(target, toolchain, mutants):
    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(lambda each: toolchain.build(each.entrant(target).source), mutants))


@dataclass(frozen=True)
class QuickTarget(CpuTarget):
    """Builds in two thirds of the time: a mistake is in the source, whatever the compiler makes of it."""

    @property
    def _more_flags(self) -> str:
        return f"{super()._more_flags} -O1"


@pytest.fixture(scope="module")
def cpu():
    return QuickTarget(**vars(targets.detect("cpu")))


@pytest.fixture(scope="module")
def verification(cpu, tmp_path_factory, request):
    toolchain = Toolchain(cpu, tmp_path_factory.mktemp("cache"), many=True)
    parameters = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    asked = {each["mutant"].name for each in parameters if isinstance(each.get("mutant"), corpus.Mutant)}
    build_all(cpu, toolchain, [each for each in CPU if each.name in asked and not each.base.refusals(cpu)])
    with Verification(cpu, toolchain, deadline_s=DEADLINE_S) as made:
        yield made


@pytest.mark.parametrize(
    "mutant",
    [pytest.param(each, id=each.name, marks=[] if each in QUICK else [pytest.mark.long]) for each in CPU],
)
def test_a_wrong_kernel_is_refused_by_its_gate(cpu, verification, mutant):
    refusals = mutant.base.refusals(cpu)
    if refusals:
        pytest.skip("; ".join(refusals))
    sanitize = mutant.gates == (Gate.SANITIZER,)
    verdict = verification.kernel(
        mutant.entrant(cpu), mutant.base.problem, corpus.SEED, only={mutant.case}, sanitize=sanitize
    )
    assert not verdict.accepted
    assert verdict.gate in mutant.gates, verdict.reason
    assert verdict.reason


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: each.name)
def test_a_wrong_function_is_refused_by_its_gate(verification, function):
    verdict = verification.function(function.path, PLAIN.problem, corpus.SEED, only={function.case})
    assert verdict.gate in function.gates, verdict.reason


@pytest.mark.parametrize(
    "mutants", [pytest.param(QUICK, id="some"), pytest.param(CPU, id="all", marks=pytest.mark.long)]
)
def test_the_right_kernels_and_function_pass_with_room(cpu, verification, mutants):
    """On every case where a mutant of theirs shows, the plain one where any does; the report has the rest."""
    cases = {each.case for each in (*mutants, *FUNCTIONS)}
    bases = [each for each in corpus.bases("cpu").values() if not each.refusals(cpu)]
    own = {base.name: {each.case for each in mutants if each.base.name == base.name} for base in bases}
    chosen = [(base, cases if base.name == PLAIN.name else own[base.name]) for base in bases if own[base.name]]
    for verdict in (
        *(verification.kernel(each.entrant(cpu), each.problem, corpus.SEED, only=only) for each, only in chosen),
        verification.function(corpus.RIGHT_FUNCTION.path, PLAIN.problem, corpus.SEED, only=cases),
    ):
        assert verdict.accepted, verdict.reason
        assert verdict.worst is not None
        assert verdict.worst.share is not None
        assert verdict.worst.share < 0.8, verdict.worst


def test_there_are_enough_of_them_and_every_gate_has_one():
    assert len(CPU) + len(FUNCTIONS) >= 40
    assert len(CUDA) >= 40
    caught = {gate for each in (*CPU, *CUDA, *FUNCTIONS) for gate in each.gates}
    never = set(Gate) - caught
    # Without a mutant: what does not build or load, a launcher that answers an error or declines everything, and a time
    # below the floor (a kernel cannot be that fast, a clock can be that wrong); these have tests of their own.
    assert never == {Gate.BUILD, Gate.LAUNCH, Gate.DECLINED}


ONE_OF_EACH_FAMILY = list({each.base.family: each for each in CUDA}.values())


@pytest.mark.nvcc
@pytest.mark.parametrize(
    "mutants", [pytest.param(ONE_OF_EACH_FAMILY, id="some"), pytest.param(CUDA, id="all", marks=pytest.mark.long)]
)
def test_cuda_mutants_compile(mutants, tmp_path):
    target = cuda.of_arch("sm_90a")
    for mutant, build in zip(mutants, build_all(target, Toolchain(target, tmp_path), mutants), strict=True):
        assert build.library is not None, f"{mutant.name}: {build.reason}"


def test_what_a_cuda_mutant_replaces_stands_once_in_its_kernel():
    """So that a change of a kernel can neither leave a mutant right nor change more than its mistake."""
    target = cuda.of_arch("sm_90a")
    right = {base.name: base.source(target) for base in corpus.bases("cuda").values()}
    for mutant in CUDA:
        assert mutant.source(right[mutant.base.name]) != right[mutant.base.name], mutant.name


@pytest.mark.gpu
@pytest.mark.parametrize("mutant", CUDA, ids=lambda each: each.name)
def test_a_wrong_cuda_kernel_is_refused_by_its_gate(mutant, tmp_path):
    target = targets.detect("cuda")
    with Verification(target, Toolchain(target, tmp_path), deadline_s=DEADLINE_S) as made:
        sanitize = Gate.SANITIZER in mutant.gates
        verdict = made.kernel(mutant.entrant(target), mutant.base.problem, corpus.SEED, sanitize=sanitize)
    assert verdict.gate in mutant.gates, verdict.reason
