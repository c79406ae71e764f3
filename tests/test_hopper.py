"""The hopper family without a GPU: that a spread of its genomes compiles to what it should, and that addresses agree.

The copy engine and the tensor cores permute addresses by themselves; what the kernel computes beside that is compiled
for the host here and held against a model of both.
"""

import re
import shlex
import shutil
import subprocess
from collections import defaultdict
from itertools import product

import pytest

from evoflash import targets
from evoflash.codegen.template import load
from evoflash.core.genome import Genome
from evoflash.problems.attention import AttentionProblem
from evoflash.targets import cuda
from tests.spread import build_all, spread

HEAD_DIMS = (64, 128, 256)
PARTLY_FILLED = (8, 40, 72, 80, 96, 160, 192)  # head sizes whose last panel, or last step of 16 columns, is not full
DEVICE = {
    "arch": 90,
    "multiprocessors": 132,
    "shared_bytes_per_block": 232448,
    "shared_bytes_per_multiprocessor": 233472,
}


def problem(head_dim: int = 128, causal: bool = True, dtype: str = "bfloat16") -> AttentionProblem:
    return AttentionProblem.of(2, 8, 1024, head_dim, kv_heads=2, dtype=dtype, causal=causal)


def few_tiles(head_dim: int = 128, causal: bool = True) -> AttentionProblem:
    return AttentionProblem.of(1, 8, 512, head_dim, kv_heads=2, seq_kv=2000, causal=causal)


@pytest.mark.long  # 28 kernels
@pytest.mark.nvcc
@pytest.mark.timeout(600)
def test_a_spread_of_genomes_compiles_without_spills_or_warnings(tmp_path):
    shapes = [problem(*each) for each in product(HEAD_DIMS, (True, False), ("bfloat16", "float16"))]
    shapes += [few_tiles(*each) for each in product(HEAD_DIMS, (True, False))]
    shapes += [problem(head_dim, causal=head_dim % 16 == 0) for head_dim in PARTLY_FILLED]
    target = cuda.of_arch("sm_90a")
    shapes.append(AttentionProblem.of(1, 16, 16384, 128, dtype="bfloat16"))  # few tiles are left over after ten rounds
    sources = spread("hopper", shapes, DEVICE, seed=3, draws=150)
    for where, build in build_all(sources, target, tmp_path).items():
        assert build.report.spill_bytes == 0, where
        assert target.warnings(build.report.log) == (), where


def genome(**genes) -> Genome:
    """A genome that needs no other parameter to be said."""
    usual = {
        "warpgroups": 2, "step_keys": 128, "stages": 2, "blocks": 1, "producer_registers": 24, "overlap": True,
        "late_wait": False, "bridge": False, "query_stages": 1, "early": False, "ping_pong": False, "handover": 0,
        "rescale_threshold": 0, "polynomial": 0, "schedule": "tiles", "order": "heads", "edge": "filled",
        "section_mib": 32, "cluster": 1, "share": "rows", "split": 1, "split_tiles": "all", "merge": "float",
        "store": "direct", "weights": "registers", "retain": False,
    }  # fmt: skip
    return Genome({**usual, **genes})


@pytest.mark.nvcc
def test_the_instructions_that_the_family_is_for(tmp_path):
    genes = genome(store="bulk", cluster=2, producer_registers=32, retain=True)
    (tmp_path / "kernel.cu").write_text(load("hopper").render(genes, problem(), DEVICE).text)
    command = [cuda.nvcc(), "-arch=sm_90a", "-std=c++17", "-DEVOFLASH_DEVICE_ONLY", "kernel.cu"]
    subprocess.run([*command, "-ptx", "-o", "kernel.ptx"], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    ptx = (tmp_path / "kernel.ptx").read_text()
    assert "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16" in ptx
    assert "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast" in ptx
    assert "createpolicy.fractional.L2::evict_last" in ptx
    assert "setmaxnreg.dec.sync.aligned.u32" in ptx
    disassembler = shutil.which("nvdisasm")
    if disassembler is None:
        pytest.skip("nvdisasm is not installed; the PTX is as it should be")
    subprocess.run(
        [*command, "-cubin", "-o", "kernel.cubin"], cwd=tmp_path, check=True, capture_output=True, timeout=120
    )
    sass = subprocess.run(
        [disassembler, "kernel.cubin"], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    for instruction in ("HGMMA", "UTMALDG", "UTMASTG", "USETMAXREG"):
        assert instruction in sass
    assert "LDL" not in sass


@pytest.mark.nvcc
def test_a_late_wait_stays_behind_the_exponentials(tmp_path):
    """Otherwise ptxas moves it ahead of them: they would wait for the products that they are to run beside."""
    disassembler = shutil.which("nvdisasm")
    if disassembler is None:
        pytest.skip("nvdisasm is not installed")
    between = {}
    for late_wait in (False, True):
        source = load("hopper").render(genome(late_wait=late_wait, ping_pong=True), problem(), DEVICE)
        (tmp_path / "kernel.cu").write_text(source.text)
        command = [cuda.nvcc(), "-arch=sm_90a", "-std=c++17", "-DEVOFLASH_DEVICE_ONLY", "-cubin", "kernel.cu"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
        shown = subprocess.run(
            [disassembler, "-c", "kernel.cubin"], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        scores, *later = shown.stdout.split("WARPGROUP.DEPBAR.LE gsb0, 0x1")[1:]
        assert later == []
        between[late_wait] = scores.split("WARPGROUP.DEPBAR.LE gsb0, 0x0")[0].count("MUFU.EX2")
    assert between[True] >= 128 * 64 // 128  # one for each of a lane's scores
    assert between[False] < between[True]


@pytest.mark.parametrize("arch", [80, 89, 100])
def test_other_architectures_are_refused_with_the_reason(arch):
    refusals = load("hopper").refusals(problem(), {**DEVICE, "arch": arch})
    assert refusals == ["wgmma and setmaxnreg are Hopper's alone (sm_90a)"]


@pytest.mark.parametrize("split", [1, 2, 4])
def test_keys_are_split_only_where_tiles_do_not_fill_the_device(split):
    assert load("hopper").space([few_tiles()], DEVICE).is_valid(genome(split=split))
    many = problem().model_copy(update={"batch": 4})
    assert load("hopper").space([many], DEVICE).is_valid(genome(split=split)) == (split == 1)


# Addresses. The copy engine writes panels of 128-byte rows with address bits 4 to 6 permuted by bits 7 to 9; the tensor
# cores read by a descriptor in the canonical layouts of the PTX ISA ("Strides" of asynchronous warpgroup-level matrix
# instructions) and permute in the same way.

# What the headers name of CUDA, for a host compiler that only looks at what they compute.
HOST = """
#include <cstdio>
#define __device__
#define __forceinline__ inline
struct { unsigned x; } threadIdx;
struct uint4 { unsigned x, y, z, w; };
uint4 make_uint4(unsigned, unsigned, unsigned, unsigned);
size_t __cvta_generic_to_shared(const void *);
float __uint_as_float(unsigned);
unsigned __float_as_uint(float);
void __syncwarp();
#include "numeric_types.cuh"
#include "hopper/kernel_traits.cuh"
#include "score_features.h"
#CONFIG#
#include "hopper/gemm.cuh"
using namespace evoflash;
using namespace evoflash::hopper;
using Traits = KernelTraits<Config>;
int main() {
  const unsigned rank = 3u << 24;  // of a block in a cluster, which its own addresses carry
  const SmemDescriptor query = make_smem_descriptor(rank + 1024, kNoPanelStride);
  const SmemDescriptor keys = make_smem_descriptor(rank + 8192, kNoPanelStride);
  const SmemDescriptor values = make_smem_descriptor(rank + 65536, Traits::kKvPanelBytes);
  for (int k = 0; k < Traits::kHeadSteps; ++k) {
    printf("query %llx\\n", advance(query, k_major_offset(k, Traits::kQPanelBytes)));
    printf("keys %llx\\n", advance(keys, k_major_offset(k, Traits::kKvPanelBytes)));
    for (threadIdx.x = 0; threadIdx.x < 128; ++threadIdx.x) printf("lane %x\\n", stmatrix_offset<Traits>(k));
  }
  for (int k = 0; k < Traits::kKeySteps; ++k)
    printf("values %llx\\n", advance(values, k * 16 * Traits::Panel::kRowBytes));
}
"""
QUERY, KEYS, VALUES = 1024, 8192, 65536


def permuted(address: int) -> int:
    return address ^ (address >> 7 & 7) << 4


def in_panels(base: int, rows: int, row: int, column: int) -> int:
    """Where the copy engine puts an element of a tile of so many rows."""
    return permuted(base + column // 64 * rows * 128 + row * 128 + column % 64 * 2)


class Descriptor:
    """What the tensor cores make of a descriptor."""

    def __init__(self, bits: int):
        field = {name: bits >> first & (1 << 14) - 1 for name, first in (("start", 0), ("leading", 16), ("stride", 32))}
        self.start, self.leading, self.stride = (16 * field[name] for name in ("start", "leading", "stride"))
        assert bits >> 62 == 1, "128-byte permutation"
        assert bits >> 46 & 0xFFFF == 0, "no base offset"

    def along(self, row: int, term: int) -> int:
        """Rows run along the sum ("K-major"): groups of eight rows, `stride` apart."""
        return permuted(self.start + row // 8 * self.stride + row % 8 * 128 + term * 2)

    def across(self, column: int, term: int) -> int:
        """Rows are terms ("MN-major"): 64 columns, then `leading` on; groups of eight terms, `stride` apart."""
        return permuted(
            self.start + column // 64 * self.leading + term // 8 * self.stride + term % 8 * 128 + column % 64 * 2
        )


SIZES = [(64, 128), (128, 80), (128, 176), (256, 64), (8, 64), (72, 112), (96, 64), (160, 80), (192, 96)]


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def computed(request, tmp_path_factory):
    """Head size, keys of a step, and by operand the addresses that the kernel's own functions compute, on the host."""
    head_dim, step_keys = request.param
    genes = genome(step_keys=step_keys, warpgroups=1, stages=1, producer_registers=0, overlap=False, store="bulk")
    template = load("hopper")
    config = re.search(r"^struct Config : .*?^};", template.render(genes, problem(head_dim), DEVICE).text, re.M | re.S)
    assert config
    folder = tmp_path_factory.mktemp("addresses")
    name, text = problem(head_dim).header
    (folder / name).write_text(text)
    binary = str(folder / "addresses")
    includes = [f"-I{each}" for each in (folder, *template.include_folders)]
    command = [*shlex.split(targets.base.cxx()), "-std=c++17", "-DEVOFLASH_DEVICE_ONLY", *includes, "-x", "c++", "-"]
    program = HOST.replace("#CONFIG#", config[0])
    subprocess.run([*command, "-o", binary], input=program, text=True, check=True, capture_output=True, timeout=60)
    found = defaultdict(list)
    for line in subprocess.run([binary], text=True, check=True, capture_output=True, timeout=60).stdout.splitlines():
        name, value = line.split()
        found[name].append(int(value, 16))
    return head_dim, step_keys, found


@pytest.mark.parametrize(("operand", "base"), [("query", QUERY), ("keys", KEYS)])
def test_the_tensor_cores_read_queries_and_keys_where_they_were_loaded(computed, operand, base):
    head_dim, step_keys, found = computed
    rows = 64 if operand == "query" else step_keys
    assert len(found[operand]) == (head_dim + 15) // 16
    for d, bits in enumerate(found[operand]):
        descriptor = Descriptor(bits)
        for row, term in product(range(rows), range(16)):
            assert descriptor.along(row, term) == in_panels(base, rows, row, d * 16 + term)


def test_the_tensor_cores_read_values_where_they_were_loaded(computed):
    head_dim, step_keys, found = computed
    for k, bits in enumerate(found["values"]):
        descriptor = Descriptor(bits)
        for column, term in product(range(head_dim), range(16)):
            assert descriptor.across(column, term) == in_panels(VALUES, step_keys, k * 16 + term, column)


def test_lanes_address_sixteen_by_sixteen_elements(computed):
    head_dim, _, found = computed
    offsets = found["lane"]
    assert len(offsets) == (head_dim + 15) // 16 * 128
    for pair, thread in product(range(len(offsets) // 128), range(128)):
        row = thread // 32 * 16 + thread % 16
        column = pair * 16 + thread % 32 // 16 * 8
        assert offsets[pair * 128 + thread] == in_panels(0, 64, row, column)
