"""An option that means nothing for what was asked is refused, where it stands on the command line."""

import pytest
from typer.testing import CliRunner

from evoflash.cli.main import app
from evoflash.store import RunStore
from tests.export.conftest import inlined
from tests.store import runs
from tests.test_bench import PROBLEM

SHAPE = "b=1,h=2,s=24,d=16,dtype=fp32"
BENCH = ["bench", "--target", "cpu", "--shape", SHAPE]
KERNEL = ["--kernel", "cpu_flash"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a function, and a run of a right candidate."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mymod.py").write_text("def attention(q, k, v): ...\n")
    with RunStore.open("runs/evoflash.db", write=True) as store:
        store.record(
            runs.begin(store, problem=PROBLEM), runs.candidate(0), runs.ok(1.0), inlined("plain_attention.cpp"), "c++"
        )
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["build", "cpu_flash", "--arch", "sm_90a"],
            "--arch means nothing for cpu_flash, whose kernels are for the CPU",
        ),
        (["render", "cpu_flash", "--arch", "sm_90a"], "--arch means nothing for cpu_flash"),
        (["render", "cpu_flash", "--genome", "{}", "--seed", "3"], "--seed means nothing beside --genome"),
        (["search", "--target", "cpu", "--arch", "sm_90a"], "--arch means nothing for CPU kernels"),
        (["search", "--target", "cpu", "--max-registers", "64"], "--max-registers means nothing for CPU kernels"),
        (["search", "--target", "cpu", "--max-shared-kib", "64"], "--max-shared-kib means nothing for CPU kernels"),
        (["search", "--target", "cpu", "--no-spills"], "--no-spills means nothing for CPU kernels"),
        ([*BENCH, "--arch", "sm_90a"], "--arch means nothing on the CPU"),
        ([*BENCH, "--trials", "20"], "--trials means nothing without --self-test"),
        ([*BENCH, "--calls"], "--calls means nothing without --kernel"),
        ([*BENCH, "--fifteen"], "--fifteen means nothing without --kernel"),
        ([*BENCH, "--no-check"], "--check/--no-check means nothing without --kernel"),
        ([*BENCH, *KERNEL, "--fifteen", "--cases", "all"], "--fifteen means nothing beside --cases all"),
        ([*BENCH, *KERNEL, "--self-test", "--calls"], "--calls means nothing with --self-test"),
        ([*BENCH, *KERNEL, "--self-test", "--warmup", "1"], "--warmup means nothing with --self-test"),
        ([*BENCH, *KERNEL, "--self-test", "--shape", "tiny"], "--self-test times one shape, and these are 2"),
        ([*BENCH, "--kernel", "1", "--seed", "3"], "--seed means nothing without a --kernel FAMILY"),
        (["verify", "cpu_flash", "--arch", "sm_90a"], "--arch means nothing for kernels of the CPU"),
        (["verify", "cpu_flash", "--target", "cuda"], "cpu_flash is for cpu, not for --target cuda"),
        (["verify", "1", "--shape", SHAPE], "--shape means nothing for exports and candidates"),
        (["verify", "1", "--dtype", "bf16"], "--dtype means nothing for exports and candidates"),
        (["verify", "mymod:attention", "--sanitize"], "--sanitize means nothing for a Python function"),
        (["verify", "mymod:attention", "--arch", "sm_90a"], "--arch means nothing for a Python function"),
    ],
)
def test_an_option_without_a_meaning_is_refused(place, arguments, words):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr


def test_a_setting_of_the_environment_is_for_every_command(monkeypatch):
    monkeypatch.setenv("CUDA_ARCH", "sm_90a")
    result = CliRunner().invoke(app, ["render", "cpu_flash"])
    assert result.exit_code == 0, result.output
