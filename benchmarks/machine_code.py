"""Whether templates still give the same machine code after they were rewritten.

    python benchmarks/machine_code.py record before.json --family hopper --genomes 300     # on the tree before
    python benchmarks/machine_code.py record after.json --genomes-of before.json           # on the tree after
    python benchmarks/machine_code.py compare before.json after.json

`record` draws genomes that together show every value of every parameter, over shapes of all head sizes, dtypes and
masks that the family takes, compiles the device code of each by NVRTC, and writes a digest of the instructions, the
constants, the registers and the spills of every kernel in it; of a CPU family, the instructions and constants that g++
writes for a processor that this machine need not have. `compare` lists the genomes whose digests differ. Nothing is
run, so no GPU is needed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import resource
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from evoflash.codegen.template import load
from evoflash.core.genome import Genome
from evoflash.problems import Problem, attention
from evoflash.problems.attention import AttentionProblem
from evoflash.targets import cpu, cuda, nvrtc
from evoflash.targets.base import cxx

FAMILIES = {"scalar": "sm_80", "wmma": "sm_80", "mma": "sm_90a", "split": "sm_90a", "hopper": "sm_90a"}
FAMILIES |= {"decode": "sm_90a", "cpu_flash": "sapphirerapids", "cpu_amx": "sapphirerapids"}
# What a machine with such a processor tells of itself, by the compiler's name for the processor.
PROCESSORS: dict[str, dict[str, Any]] = {
    "sapphirerapids": {"vector_bytes": 64, "l1d_bytes": 48 << 10, "l2_bytes": 2 << 20, "bf16_dot": True, "amx": True},
    "skylake-avx512": {"vector_bytes": 64, "l1d_bytes": 32 << 10, "l2_bytes": 1 << 20, "bf16_dot": False, "amx": False},
    "x86-64-v3": {"vector_bytes": 32, "l1d_bytes": 32 << 10, "l2_bytes": 512 << 10, "bf16_dot": False, "amx": False},
    "x86-64": {"vector_bytes": 16, "l1d_bytes": 32 << 10, "l2_bytes": 512 << 10, "bf16_dot": False, "amx": False},
}
# Lengths from few tiles, where keys are split, to many.
SHAPES = ("mission", "mission_causal", "multi_batch", "odd", "d128_1k", "llama_gqa_2k", "chunk_8k", "bert")
SHAPES += ("b=2,h=8,s=777,d=32", "b=1,h=4,kv=2,s=300,t=1000,d=256,causal", "b=1,h=2,s=640,d=96")
SHAPES += ("b=1,h=2,s=729,d=72",)
CPU_SHAPES = ("b=1,h=2,s=130,d=72", "b=2,h=2,s=77,d=8,causal")
DTYPES = ("float16", "bfloat16", "float32")


def facts_of(arch: str) -> Mapping[str, Any]:
    """What templates may read of a device."""
    return {"cores": 8, **PROCESSORS[arch]} if arch in PROCESSORS else cuda.of_arch(arch).facts


def shapes_of(family: str, device: Mapping[str, Any]) -> list[Problem]:
    """Every shape above in every dtype that the family takes on the device."""
    template = load(family)
    found = {}
    for shape in SHAPES + (CPU_SHAPES if template.manifest.target == "cpu" else ()):
        for dtype in DTYPES:
            problem = attention.parse(shape, dtype)
            if not template.refusals(problem, device):
                found[problem.label] = problem
    return list(found.values())


def draw(family: str, device: Mapping[str, Any], count: int, seed: int) -> list[tuple[Problem, Genome]]:
    """The shipped seeds where they are valid, then random genomes of each shape in turn showing the missing values."""
    template, rng = load(family), random.Random(seed)
    shapes = shapes_of(family, device)
    spaces = [(problem, template.space([problem], device)) for problem in shapes]
    chosen: dict[tuple[str, Genome], tuple[Problem, Genome]] = {}
    for problem, space in spaces:
        for each in template.declaration.seeds:
            genome = Genome(each.genome)
            if space.is_valid(genome):
                chosen[problem.label, genome] = (problem, genome)
    missing = {(name, value) for name, each in template.declaration.parameters.items() for value in each.values}
    for _, genome in chosen.values():
        missing -= set(genome.items())
    draws = 0
    while len(chosen) < count or (missing and draws < 200 * count):
        problem, space = spaces[draws % len(spaces)]
        draws += 1
        genome = space.sample(rng)
        if len(chosen) >= count and not missing & set(genome.items()):
            continue
        missing -= set(genome.items())
        chosen[problem.label, genome] = (problem, genome)
        if draws > 500 * count:
            break
    if missing:
        print(f"{family}: not shown: {sorted(missing, key=str)}", file=sys.stderr)
    return list(chosen.values())


def compile_one(family: str, arch: str, problem: Problem, genes: dict[str, Any]) -> dict[str, Any]:
    """The digest of a genome's machine code, its resources, and the seconds that rendering and compiling took."""
    if arch in PROCESSORS:
        return compile_for_cpu(family, arch, problem, genes)
    target = cuda.of_arch(arch)
    start = time.perf_counter()
    source = load_once(family).render(Genome(genes), problem, target.facts)
    rendered = time.perf_counter()
    options = ["--no-cache", f"--gpu-architecture={arch}", *cuda.NVRTC_FLAGS.split(), f"-I{cuda.toolkit() / 'include'}"]
    record = {"family": family, "arch": arch, "problem": problem.model_dump(mode="json"), "genome": genes}
    try:
        cubin, log = nvrtc.compile_cubin(nvrtc.load(str(cuda.nvrtc_library())), source.text.encode(), "k.cu", options)
    except nvrtc.CompilationError as error:
        return {**record, "error": str(error)[:2000]}
    figures = target.figures(log)
    return {
        **record,
        "code": digest_of(cubin),
        "registers": figures.registers,
        "spill_bytes": figures.spill_bytes,
        "warnings": list(target.warnings(log)),
        "render_s": rendered - start,
        "compile_s": time.perf_counter() - rendered,
        "characters": len(source.text),
    }


def compile_for_cpu(family: str, arch: str, problem: Problem, genes: dict[str, Any]) -> dict[str, Any]:
    """The same of a CPU family; seconds are those of the processor, since other processes share it."""
    record = {"family": family, "arch": arch, "problem": problem.model_dump(mode="json"), "genome": genes}
    start = time.process_time()
    source = load_once(family).render(Genome(genes), problem, facts_of(arch))
    rendered = time.process_time() - start
    flags = cpu.CPU_FLAGS.replace("-march=native", f"-march={arch}")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [*shlex.split(cxx()), *shlex.split(flags), "-S", "-x", "c++", "-", "-o", "-"]
    done = subprocess.run(command, input=source.text, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        return {**record, "error": done.stderr[:2000]}
    listing = Listing(done.stdout)
    return {
        **record,
        "code": listing.digest(["evoflash_launch", "evoflash_workspace_bytes"]),
        "registers": None,
        "spill_bytes": None,
        "instructions": listing.instructions,
        "arithmetic": listing.arithmetic(),
        "warnings": re.findall("warning: .*", done.stderr),
        "render_s": rendered,
        "compile_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "characters": len(source.text),
    }


class Listing:
    """An assembler listing of GCC's, and a digest of it that does not depend on names or on the order of functions.

    Labels inside of a function count by their order in it; functions and constants that it names, by their content.

    Attributes:
        instructions: how many there are.
    """

    _LABEL = re.compile(r"^([\w.$]+):")
    _NAME = re.compile(r"(?<![%$\w.])[A-Za-z_.][\w.$]*")
    _KEPT = re.compile(r"\t\.(?:p2align|align|byte|value|long|quad|zero|string|ascii|float|double|single|octa)\b")

    def __init__(self, text: str):
        self._blocks: dict[str, list[str]] = {}
        self._labels: dict[str, tuple[str, int]] = {}
        self._same = dict(re.findall(r"^\t\.set\t([\w.$]+),([\w.$]+)$", text, re.MULTILINE))
        self._known: dict[str, str] = {}
        self.instructions = 0
        functions = set(re.findall(r"^\t\.type\t([\w.$]+), @function$", text, re.MULTILINE))
        block = count = None
        for line in text.splitlines():
            label = self._LABEL.match(line)
            if label and (label[1] in functions or label[1].startswith(".LC") or not label[1].startswith(".L")):
                block, count = label[1], 0
                self._blocks[block] = []
            elif label and block is not None and count is not None:
                self._labels[label[1]] = (block, count)
                self._blocks[block].append(line)
                count += 1
            elif line.startswith("#"):  # before and after inline assembly
                continue
            elif block is not None and (not line.startswith("\t.") or self._KEPT.match(line)):
                self._blocks[block].append(line)
                self.instructions += not line.startswith("\t.")

    def digest(self, names: list[str]) -> str:
        """SHA-256 over these functions and whatever they name."""
        return hashlib.sha256(" ".join(self._of(name) for name in names).encode()).hexdigest()

    def arithmetic(self) -> str:
        """SHA-256 over the counts of each vector and tile instruction, whatever the registers and the order."""
        lines = (line.split("\t") for block in self._blocks.values() for line in block)
        names = [line[1] for line in lines if len(line) > 1 and line[1][:1] in "vt" and line[1][:4] != "vmov"]
        return hashlib.sha256(json.dumps(sorted(Counter(names).items())).encode()).hexdigest()

    def _of(self, name: str) -> str:
        name = self._same.get(name, name)
        if name not in self._known:
            self._known[name] = "itself"
            lines = (self._NAME.sub(lambda found: self._meaning(found[0], name), line) for line in self._blocks[name])
            self._known[name] = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:24]
        return self._known[name]

    def _meaning(self, name: str, block: str) -> str:
        owner, number = self._labels.get(name, ("", 0))
        if owner:
            return f"label {number}" if owner == block else f"label {number} of a part"
        return self._of(name) if self._same.get(name, name) in self._blocks else name


_TEMPLATES: dict[str, Any] = {}


def load_once(family: str) -> Any:
    """The template, read once a process."""
    if family not in _TEMPLATES:
        _TEMPLATES[family] = load(family)
    return _TEMPLATES[family]


def digest_of(cubin: bytes) -> str:
    """SHA-256 over the sections of instructions and constants, by kernel; names and debug information do not count."""
    digest = hashlib.sha256()
    for name, content in sorted(sections_of(cubin).items()):
        # Sections of kernels alone: NVRTC also writes module data that no kernel reads.
        if re.match(r"\.(text|nv\.constant\d*|nv\.shared)\.", name):
            digest.update(name.encode() + len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def sections_of(elf: bytes) -> dict[str, bytes]:
    """The sections of a 64-bit ELF file by name."""
    at = int.from_bytes(elf[0x28:0x30], "little")
    size, count, names_index = (int.from_bytes(elf[k : k + 2], "little") for k in (0x3A, 0x3C, 0x3E))

    def header(i: int) -> tuple[int, int, int, int]:
        own = elf[at + i * size : at + (i + 1) * size]
        number = [int.from_bytes(own[k : k + n], "little") for k, n in ((0, 4), (4, 4), (0x18, 8), (0x20, 8))]
        return number[0], number[1], number[2], number[3]

    names = header(names_index)
    table = elf[names[2] : names[2] + names[3]]
    found = {}
    for i in range(count):
        name, kind, offset, length = header(i)
        text = table[name : table.index(b"\0", name)].decode()
        found[text] = b"" if kind == 8 else elf[offset : offset + length]  # 8: no content in the file
    return found


def _compile(job: tuple[str, str, dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    family, arch, problem, genes = job
    try:
        return compile_one(family, arch, AttentionProblem.model_validate(problem), genes)
    except Exception as error:  # a template in the middle of being rewritten
        return {"family": family, "arch": arch, "problem": problem, "genome": genes, "error": f"{error}"[:2000]}


def record(arguments: argparse.Namespace) -> None:
    """Compiles and writes the digests."""
    jobs = []
    if arguments.genomes_of:
        for each in json.loads(arguments.genomes_of.read_text()):
            if arguments.family in (None, each["family"]):
                jobs.append((each["family"], each["arch"], each["problem"], each["genome"]))
        jobs = jobs[arguments.skip :: arguments.every]
    else:
        for family in [arguments.family] if arguments.family else FAMILIES:
            arch = arguments.arch or FAMILIES[family]
            for problem, genome in draw(family, facts_of(arch), arguments.genomes, arguments.seed):
                jobs.append((family, arch, problem.model_dump(mode="json"), dict(genome)))
    start = time.perf_counter()
    with ProcessPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(_compile, jobs, chunksize=4))
    arguments.out.write_text("[\n" + ",\n".join(json.dumps(each) for each in results) + "\n]\n")
    failed = sum("error" in each for each in results)
    print(f"{len(results)} genomes, {failed} do not compile, {time.perf_counter() - start:.0f} s")


def compare(arguments: argparse.Namespace) -> int:
    """Lists what differs; the exit code is 1 when anything does."""

    def key(each: dict[str, Any]) -> str:
        problem = AttentionProblem.model_validate(each["problem"]).to_dict()  # without fields that an older tree lacks
        return json.dumps([each["family"], each["arch"], problem, each["genome"]], sort_keys=True)

    before = {key(each): each for each in json.loads(arguments.before.read_text())}
    after = [each for each in json.loads(arguments.after.read_text()) if key(each) in before]
    differing = 0
    for family in sorted({each["family"] for each in after}):
        pairs = [(before[key(each)], each) for each in after if each["family"] == family]
        same = 0
        for old, new in pairs:
            if "error" in new or "error" in old:
                what = "does not compile" if "error" in new else "did not compile before"
            elif old["code"] != new["code"] and "arithmetic" in old and "arithmetic" in new:
                reordered = old["arithmetic"] == new["arithmetic"]
                what = "registers or order" if reordered else "arithmetic"
                what += f"; instructions {old['instructions']} -> {new['instructions']}"
            elif old["code"] != new["code"]:
                what = f"code; registers {old['registers']} -> {new['registers']}, "
                what += f"spills {old['spill_bytes']} -> {new['spill_bytes']}"
            else:
                same += 1
                continue
            differing += 1
            if arguments.verbose:
                shape = AttentionProblem.model_validate(new["problem"]).label
                print(f"  {family} {shape} {json.dumps(new['genome'])}: {what}\n{new.get('error', '')[:600]}")
        timed = [(old, new) for old, new in pairs if "compile_s" in old and "compile_s" in new]
        seconds = [sum(each[i][name] for each in timed) for name in ("render_s", "compile_s") for i in (0, 1)]
        print(
            f"{family}: {same} of {len(pairs)} identical; render {seconds[0]:.1f} -> {seconds[1]:.1f} s, "
            f"compile {seconds[2]:.1f} -> {seconds[3]:.1f} s"
        )
    return 1 if differing or not after else 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("record")
    one.add_argument("out", type=Path)
    one.add_argument("--family", choices=sorted(FAMILIES))
    one.add_argument("--arch", help="default: the newest that the family was made for")
    one.add_argument("--genomes", type=int, default=300)
    one.add_argument("--genomes-of", type=Path)
    one.add_argument("--every", type=int, default=1, help="only every n-th of them")
    one.add_argument("--skip", type=int, default=0)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--jobs", type=int, default=os.cpu_count())
    one.set_defaults(run=record)
    two = commands.add_parser("compare")
    two.add_argument("before", type=Path)
    two.add_argument("after", type=Path)
    two.add_argument("-v", "--verbose", action="store_true")
    two.set_defaults(run=compare)
    arguments = parser.parse_args()
    return arguments.run(arguments) or 0


if __name__ == "__main__":
    sys.exit(main())
