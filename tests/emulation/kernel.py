"""Runs a family's kernel on the host: `python -m tests.emulation.kernel` in a process that has no other libcuda."""

from __future__ import annotations

import ctypes
import hashlib
import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from evoflash.codegen.template import Template, load
from evoflash.core.genome import Genome
from evoflash.problems import Problem, attention
from evoflash.problems.base import Inputs, Output, Outputs
from evoflash.problems.function.description import describe
from evoflash.targets import cuda
from evoflash.targets.base import cxx
from evoflash.worker.buffers import GuardedTensor

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NO_FACTS: Mapping[str, Any] = MappingProxyType({})
EMULATION = "emulation.h"
DEVICE_FLAGS = ("-O1", "-ffp-contract=off", "-DEVOFLASH_DEVICE_ONLY")
SHARED_MEMORY = re.compile(r"extern __shared__ __align__\(\d+\) unsigned char shared_memory\[\];")
KERNEL = re.compile(r"^(?:extern.*void)?\s*(\w+_kernel)\(.*\) \{", re.MULTILINE)


def build(
    family: str,
    genome: Genome,
    problem: Problem,
    folder: Path,
    replaced: Sequence[tuple[str, str]] = (),
    device: Mapping[str, Any] = NO_FACTS,
) -> ctypes.CDLL:
    """The launcher of a kernel, which runs its device code on the host.

    Args:
        replaced: mistakes in the device code: pairs of what is right and what is wrong.
        device: facts beside those of sm_90a.
    """
    facts = {**cuda.of_arch("sm_90a").facts, **device}
    compiler = [
        *shlex.split(cxx()),
        "-std=c++17",
        "-fPIC",
        "-shared",
        "-w",
        "-Wno-psabi",
        f"-I{HERE}",
        f"-I{cuda.toolkit() / 'include'}",
    ]
    driver = folder / "libcuda.so.1"
    if not driver.exists():
        subprocess.run([*compiler, str(HERE / "driver.cpp"), "-Wl,-soname,libcuda.so.1", "-o", str(driver)], check=True)
        _precompile(folder / EMULATION, compiler)
    ctypes.CDLL(str(driver), ctypes.RTLD_GLOBAL)

    template = load(family)
    includes = [HERE / "include", *template.include_folders[1:]]
    replacing = Template(template.folder, includes, template.declaration)
    shipped, emulated = (each.render(genome, problem, facts).text for each in (template, replacing))
    emulated = re.sub(r'asm volatile\(""[^;]*;', "", emulated)  # which only keep the compiler from moving something
    for correct, mistake in replaced:
        assert correct in emulated
        emulated = emulated.replace(correct, mistake)
    name = hashlib.sha256(emulated.encode()).hexdigest()[:16]  # a library is loaded once for each path
    launcher = folder / f"{name}-launcher.so"
    if not launcher.exists():
        _compile(shipped, emulated, folder / name, launcher, compiler)
    made = ctypes.CDLL(str(launcher))
    made.evoflash_workspace_bytes.restype = ctypes.c_size_t
    return made


def _precompile(header: Path, compiler: list[str]) -> None:
    """The emulated device, which is a quarter of what each kernel takes to compile."""
    header.write_text('#include "device.h"\n#include "tensor_map.h"\n')
    command = [*compiler, *DEVICE_FLAGS, "-x", "c++-header", str(header), "-o", f"{header}.gch"]
    subprocess.run(command, check=True)


def _compile(shipped: str, emulated: str, stem: Path, launcher: Path, compiler: list[str]) -> None:
    """A launcher as it ships, whose cubin is the path of a library that has the device code."""
    wrappers = "".join(f"EMULATED_KERNEL({kernel})\n" for kernel in KERNEL.findall(emulated))
    memory = "unsigned char *const shared_memory = emulation::device.current->block->shared;"
    device = stem.with_name(f"{stem.name}-device.cpp")
    device.write_text(f'#include "{EMULATION}"\n{SHARED_MEMORY.sub(memory, emulated)}\n{wrappers}')
    library = device.with_suffix(".so")
    command = [*compiler, *DEVICE_FLAGS, str(device), "-o", str(library)]
    subprocess.run(command, check=True)

    cubin = stem.with_suffix(".path")
    cubin.write_bytes(str(library).encode() + b"\0")
    source = launcher.with_suffix(".cpp")
    source.write_text(shipped)
    defines = ["-DEVOFLASH_HOST_ONLY", f'-DEVOFLASH_CUBIN="{cubin}"']
    subprocess.run([*compiler, *defines, str(source), "-ldl", "-o", str(launcher)], check=True)


def shortfall(kernel: ctypes.CDLL, problem: Problem, seed: int = 0, variant: str = "normal") -> str:
    """What is wrong with the kernel's outputs; empty if nothing is."""
    inputs = problem.inputs(seed, variant, "cpu")
    surrounded = [GuardedTensor.copy(each) for each in inputs]  # by NaN, and by numbers that are no index
    read = tuple(each.tensor for each in surrounded)
    runs = []
    workspace = _workspace(kernel, problem, inputs)  # the second launch has what the first one left there
    for _ in range(2):
        written = [GuardedTensor.copy(each.empty("cpu")) for each in problem.outputs()]
        for each in written:
            each.poison()
        outputs = tuple(each.tensor for each in written)
        if error := _launch(kernel, problem, read, outputs, workspace):
            return f"error {error}"
        if not all(each.guards_intact() for each in (*written, *surrounded)):
            return "wrote beyond the output"
        runs.append(outputs)
    first, second = runs
    if not all(
        torch.equal(one.view(torch.uint8), other.view(torch.uint8)) for one, other in zip(first, second, strict=True)
    ):
        return "two runs differ"
    expected, sdpa, accepted = problem.reference(inputs), problem.plain(inputs), problem.unspecified(inputs)
    for output, got, reference, plain, accepts_nan in zip(
        problem.outputs(), first, expected, sdpa, accepted, strict=True
    ):
        if wrong := _shortfall(problem, output, got.double(), reference, plain, accepts_nan):
            return f"{output.name}: {wrong}"
    return ""


def _shortfall(
    problem: Problem,
    output: Output,
    got: torch.Tensor,
    reference: torch.Tensor,
    plain: torch.Tensor,
    accepts_nan: torch.Tensor | None,
) -> str:
    plain = plain.double()
    where = torch.ones_like(reference, dtype=torch.bool) if accepts_nan is None else ~accepts_nan
    finite = where & reference.isfinite() & plain.isfinite()
    if not got[finite].isfinite().all():
        return "not finite where a number belongs"
    if not got[reference.isnan() & plain.isnan()].isnan().all():
        return "no NaN where one belongs"
    infinite = where & reference.isinf() & (plain == reference)
    if not (got[infinite] == reference[infinite]).all():
        return "not infinite where that belongs"
    own, sdpa = (got - reference)[finite], (plain - reference)[finite]
    if not own.numel():
        return ""
    bounds = problem.bounds(output, reference, sdpa.abs().max().item(), sdpa.square().mean().sqrt().item())
    largest, rms = own.abs().max().item(), own.square().mean().sqrt().item()
    if largest <= bounds.max_error and rms <= bounds.rms_error:
        return ""
    return f"max error {largest:.2e} of {bounds.max_error:.2e}, rms {rms:.2e} of {bounds.rms_error:.2e}"


def _workspace(kernel: ctypes.CDLL, problem: Problem, inputs: Inputs) -> torch.Tensor:
    """A workspace full of NaN."""
    outputs = tuple(each.empty("cpu") for each in problem.outputs())
    size = kernel.evoflash_workspace_bytes(ctypes.byref(problem.arguments(inputs, outputs)))
    return torch.full((size + 1,), 255, dtype=torch.uint8)


def _launch(kernel: ctypes.CDLL, problem: Problem, inputs: Inputs, outputs: Outputs, workspace: torch.Tensor) -> int:
    arguments = problem.arguments(inputs, outputs)
    arguments.workspace = workspace.data_ptr()
    return kernel.evoflash_launch(ctypes.byref(arguments), None)


def _problem(task: dict[str, Any]) -> Problem:
    if "problem" not in task:
        return attention.parse(task["shape"])
    file = ROOT / "problems" / f"{task['problem']}.py"
    alone = re.sub("(?m)^(vary|cases) = .*$", "", file.read_text())  # other sizes take long to describe
    return describe(file.name, alone, task["shape"], "cpu")


def main() -> int:
    """Reads tasks as JSON lines, and prints each with what is wrong as soon as it has run; 1 if anything is.

    A task has family, genome and shape; it may have seed, variant, facts of the `device`, `replaced`: pairs of texts of
    the device code, and `problem`: one of those that ship, of which the shape is a dictionary of sizes.
    """
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            task = json.loads(line)
            problem = _problem(task)
            replaced = [(correct, mistake) for correct, mistake in task.get("replaced", [])]
            kernel = build(
                task["family"], Genome(task["genome"]), problem, Path(folder), replaced, task.get("device", {})
            )
            wrong = shortfall(kernel, problem, task.get("seed", 0), task.get("variant", "normal"))
            failed += bool(wrong)
            print(json.dumps({**task, "wrong": wrong}), flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
