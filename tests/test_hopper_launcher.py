"""The hopper family's launcher against a driver that only takes notes: what it refuses, and what maps it encodes."""

import json
import os
import shlex
import subprocess
import sys
from typing import Any

import pytest

from evoflash import targets
from evoflash.codegen.template import load
from evoflash.problems.c_interface.arguments import CODES
from evoflash.targets import cuda
from tests.test_hopper import DEVICE, genome, problem

pytestmark = pytest.mark.nvcc

DRIVER = """
#include <cstdio>
#include <cuda.h>
extern "C" {
CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
CUresult cuCtxGetCurrent(CUcontext *context) { *context = CUcontext(1); return CUDA_SUCCESS; }
CUresult cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxRetain(CUcontext *, CUdevice) { return CUDA_SUCCESS; }
CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *) { return CUDA_SUCCESS; }
CUresult cuModuleLoadData(CUmodule *, const void *) { return CUDA_SUCCESS; }
CUresult cuModuleGetFunction(CUfunction *, CUmodule, const char *) { return CUDA_SUCCESS; }
CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }
CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction, void **, void **) {
  printf("{\\"grid\\": %u, \\"block\\": %u, \\"shared\\": %u, \\"cluster\\": %u}\\n", config->gridDimX, config->blockDimX,
         config->sharedMemBytes, config->numAttrs ? config->attrs[0].value.clusterDim.x : 1);
  return CUDA_SUCCESS;
}
CUresult cuTensorMapEncodeTiled(CUtensorMap *, CUtensorMapDataType type, cuuint32_t rank, void *, const cuuint64_t *size,
                                const cuuint64_t *stride, const cuuint32_t *box, const cuuint32_t *, CUtensorMapInterleave,
                                CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  for (int i = 0; i < 3; ++i)
    if (stride[i] % 16 != 0 || stride[i] >= 1ull << 40) return CUDA_ERROR_INVALID_VALUE;
  printf("{\\"type\\": %d, \\"rank\\": %u, \\"swizzle\\": %d, \\"size\\": [%llu, %llu, %llu, %llu], \\"stride\\": [%llu, %llu, %llu], "
         "\\"box\\": [%u, %u, %u, %u]}\\n", type, rank, swizzle, (unsigned long long)size[0], (unsigned long long)size[1],
         (unsigned long long)size[2], (unsigned long long)size[3], (unsigned long long)stride[0], (unsigned long long)stride[1],
         (unsigned long long)stride[2], box[0], box[1], box[2], box[3]);
  return CUDA_SUCCESS;
}
}
"""  # noqa: E501
CALL = """
import ctypes, json, sys
from evoflash.problems.attention.members import ATTENTION
from evoflash.problems.c_interface.arguments import EvoflashTensor, Extents, structure
library = ctypes.CDLL(sys.argv[1])
tensors, numbers = json.loads(sys.argv[2])
arguments = structure(ATTENTION)(**numbers)
for name, (address, dtype, size, stride) in tensors.items():
    setattr(arguments, name, EvoflashTensor(address, dtype, len(size), Extents(*size), Extents(*stride)))
print(json.dumps(library.evoflash_launch(ctypes.byref(arguments), None)))
ctypes.CDLL(None).fflush(None)
"""
UNSUPPORTED = -1
SWIZZLE_128_BYTES = 3  # CU_TENSOR_MAP_SWIZZLE_128B


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """Calls a launcher with these arguments; its answer, and what it asked of the driver."""
    folder = tmp_path_factory.mktemp("launcher")
    (folder / "device.cubin").write_bytes(b"none")
    include = f"-I{cuda.toolkit() / 'include'}"
    compiler = shlex.split(targets.base.cxx())
    shared = [*compiler, "-x", "c++", "-std=c++17", "-fPIC", "-shared"]
    driver = [*shared, include, "-", "-o", str(folder / "libcuda.so.1")]
    subprocess.run(driver, input=DRIVER, text=True, check=True, capture_output=True, timeout=60)
    built = {}

    def build(genes, head_dim) -> str:
        if (genes, head_dim) not in built:
            source, library = folder / f"{len(built)}.cu", folder / f"{len(built)}.so"
            source.write_text(load("hopper").render(genes, problem(head_dim), DEVICE).text)
            defines = ["-DEVOFLASH_HOST_ONLY", '-DEVOFLASH_CUBIN="device.cubin"']
            command = [*shared, "-Wall", "-Wextra", "-Werror", "-Wno-unused-variable", *defines, include, str(source)]
            subprocess.run([*command, "-o", str(library), "-ldl"], cwd=folder, check=True, timeout=60)
            built[genes, head_dim] = str(library)
        return built[genes, head_dim]

    def call(genes, made_for=128, **changes) -> tuple[int, list[dict[str, Any]]]:
        arguments = members({**contiguous(made_for), **changes})
        command = [sys.executable, "-c", CALL, build(genes, made_for), json.dumps(arguments)]
        environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
        done = subprocess.run(command, env=environment, text=True, check=True, capture_output=True, timeout=60)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        notes = [line for line in lines if isinstance(line, dict)]
        (answer,) = (line for line in lines if isinstance(line, int))
        return answer, notes

    return call


def contiguous(head_dim: int) -> dict[str, Any]:
    """Two batches of eight query heads over two key heads, 1000 x 900, causal."""
    addresses = dict.fromkeys(("q", "k", "v", "out"), 1 << 20)
    sizes = {"batch": 2, "heads": 8, "kv_heads": 2, "seq_q": 1000, "seq_kv": 900, "head_dim": head_dim}
    q, kv = ([heads * rows * head_dim, rows * head_dim, head_dim] for heads, rows in ((8, 1000), (2, 900)))
    strides = {"q_stride": q, "k_stride": kv, "v_stride": kv, "out_stride": q}
    return {**addresses, **sizes, **strides, "scale": 0.1, "causal": 1}


def members(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and numbers of the struct. `NAME_size` and `NAME_dtype` go before what follows from others."""
    batch, head_dim = given["batch"], given["head_dim"]
    q = [batch, given["heads"], given["seq_q"], head_dim]
    k = [batch, given["kv_heads"], given["seq_kv"], head_dim]
    tensors = {}
    for name, size in {"q": q, "k": k, "v": k, "out": q}.items():
        dtype = given.get(f"{name}_dtype", CODES["bfloat16"])
        tensors[name] = (given[name], dtype, given.get(f"{name}_size", size), [*given[f"{name}_stride"], 1])
    return tensors, {name: given[name] for name in ("scale", "causal", "workspace") if name in given}


def test_each_tensor_is_mapped_and_the_grid_covers_the_rows(launch):
    answer, (q, k, v, grid) = launch(genome())
    assert answer == 0
    assert q["size"] == [128, 1000, 8, 2]
    assert k["size"] == v["size"] == [128, 900, 2, 2]
    assert q["stride"] == [256, 256 * 1000, 256 * 8000]
    assert k["stride"] == [256, 256 * 900, 256 * 1800]
    assert (q["box"], k["box"]) == ([64, 64, 1, 1], [64, 128, 1, 1])
    assert grid == {"grid": 8 * 8 * 2, "block": 384, "shared": 163968, "cluster": 1}


@pytest.mark.parametrize("head_dim", [40, 72, 96, 192])
def test_panels_are_whole_and_the_copy_engine_knows_where_their_columns_end(launch, head_dim):
    genes = genome(store="bulk")
    answer, (q, k, v, out, grid) = launch(genes, made_for=head_dim)
    assert answer == 0
    for each in (q, k, v, out):
        assert each["size"][0] == head_dim
        assert each["stride"][0] == 2 * head_dim
        assert each["box"][0] == 64
        assert each["swizzle"] == SWIZZLE_128_BYTES
    panels = (head_dim + 63) // 64
    tiles = 128 * panels * (2 * 64 + 2 * 2 * 128)  # two warpgroups' queries, two stages of keys and of values
    assert grid["shared"] == tiles + 128


def test_a_cluster_loads_parts_and_heads_of_a_group_share_them(launch):
    genes = genome(cluster=2, producer_registers=32, share="heads", store="bulk")
    answer, (_, k, v, out, grid) = launch(genes)
    assert answer == 0
    assert k["box"] == v["box"] == [64, 64, 1, 1]
    assert out["box"] == [64, 64, 1, 1]
    assert grid["grid"] == 16 * 2 * 2 * 2
    assert grid["cluster"] == 2
    assert launch(genes, heads=4)[0] == UNSUPPORTED  # a group of two


def test_a_persistent_grid_is_no_larger_than_what_runs_at_once(launch):
    genes = genome(schedule="persistent")
    assert launch(genes)[1][-1]["grid"] == 8 * 8 * 2
    assert launch(genes, seq_q=4000)[1][-1]["grid"] == 132


def test_a_dynamic_schedule_first_puts_the_counter_behind_the_units_that_blocks_begin_with(launch):
    answer, notes = launch(genome(schedule="dynamic"), workspace=1 << 20)
    assert answer == 0
    assert [note["grid"] for note in notes if "grid" in note] == [1, 8 * 8 * 2]


def test_parts_of_the_keys_have_blocks_of_their_own_and_a_second_kernel_merges_them(launch):
    answer, notes = launch(genome(split=4), workspace=1 << 20)
    assert answer == 0
    attention, merge = (note for note in notes if "grid" in note)
    assert attention["grid"] == 8 * 8 * 2 * 4
    assert merge["grid"] * merge["block"] >= 1000 * 128 // 8 > (merge["grid"] - 1) * merge["block"]


def test_only_the_tiles_that_are_left_over_have_their_keys_split(launch):
    genes = genome(split=2, split_tiles="rest")
    answer, notes = launch(genes, workspace=1 << 20, seq_q=2500)  # 20 tiles for each of 16 heads: 264 and 56
    assert answer == 0
    attention, combine = (note for note in notes if "grid" in note)
    assert attention["grid"] == 264 + 56 * 2
    assert combine["grid"] * combine["block"] == 56 * 128 * 128 // 8


def test_a_stride_that_leads_nowhere_may_be_anything(launch):
    answer, notes = launch(genome(), batch=1, k_stride=[0, 900 * 128, 128])
    assert answer == 0
    assert notes[1]["stride"][2] == 256


@pytest.mark.parametrize(
    "changes",
    [
        {"head_dim": 64},
        {"causal": 0},
        {"scale": 0.0},
        {"scale": -1.0},
        {"heads": 7},
        {"seq_kv": 0},
        {"q": (1 << 20) + 8},
        {"k_stride": [2 * 900 * 132, 900 * 132, 132]},
        {"v_stride": [0, 900 * 128, 128]},
        {"k_stride": [2 * 900 * 128, 0, 128]},
        {"q_stride": [8 * 1000 * 128, 1000 * 128, -128]},
        {"q_stride": [1 << 40, 1000 * 128, 128]},
        {"q_dtype": CODES["float16"]},
        {"v_dtype": CODES["float32"]},
        {"out_size": [2, 8, 999, 128]},
        {"k_size": [2, 2, 901, 128]},
        {"v_size": [2, 2, 900, 64]},
        {"k_size": [3, 2, 900, 128], "v_size": [3, 2, 900, 128]},
        {"q_size": [2, 8, 1000 * 128]},
        {"seq_q": 1 << 32},
    ],
    ids=str,
)
def test_what_the_kernel_was_not_made_for_is_refused_before_anything_is_launched(launch, changes):
    answer, notes = launch(genome(), **changes)
    assert answer == UNSUPPORTED
    assert not any("grid" in note for note in notes)
