"""Keys and values of eight bits: their inputs, what their cases show, and what families and packages say of them."""

import pytest
import torch

from evoflash.codegen.template import load
from evoflash.problems import attention
from evoflash.problems.attention import adversaries, quantization
from evoflash.problems.attention.rivals import of_attention
from evoflash.targets import cuda

SHAPE = "b=2,h=4,kv=2,s=3,t=40,d=16,dtype=bf16,kv_dtype=fp8"


def bytes_of(variant: str, shape: str = SHAPE) -> tuple[torch.Tensor, ...]:
    """Keys and values as bytes, and their scales."""
    _, k, v, *extras = attention.parse(shape).inputs(3, variant, "cpu")
    return k.view(torch.uint8), v.view(torch.uint8), extras[-2], extras[-1]


def test_a_cache_of_eight_bits_takes_half_of_the_bytes():
    problem = attention.parse("decode_fp8")
    wide = attention.parse("b=8,h=32,kv=8,s=1,t=4096,d=128,dtype=bf16")
    queries = 2 * 2 * 8 * 32 * 128  # and the output
    assert 2 * (problem.min_bytes - queries - 2 * 4 * 8) == wide.min_bytes - queries
    assert problem.label == "8x32(8)x1:4096x128 bfloat16 kv float8_e4m3fn"
    assert problem.facts()["kv_bytes"] == 1
    assert wide.facts()["kv_bytes"] == 2
    assert (problem.facts()["quantized"], wide.facts()["quantized"]) == (True, False)
    assert problem.input_dtypes() == ("bfloat16", "float8_e4m3fn", "float8_e4m3fn", "float32", "float32")


def test_the_largest_number_of_each_head_is_448_times_its_scale():
    k, v, k_scales, v_scales = bytes_of("normal")
    for stored, scales in ((k, k_scales), (v, v_scales)):
        assert scales.shape == (2,)
        assert len(set(scales.tolist())) == 2
        numbers = stored.view(torch.float8_e4m3fn).float().abs()
        assert numbers.amax(dim=(0, 2, 3)).tolist() == [448.0, 448.0]


def test_every_byte_times_a_scale_is_exact_in_float64():
    problem = attention.parse("b=1,h=1,s=1,t=16,d=16,dtype=fp16,kv_dtype=fp8")
    q, k, v, *_ = problem.inputs(0, "normal", "cpu")
    every = torch.arange(256, dtype=torch.int64).to(torch.uint8).view(torch.float8_e4m3fn).view_as(k)
    third = torch.tensor([1 / 3])
    plain, (_, numbers, _) = quantization.dequantized(problem, (q, every, v, third, third), torch.float64)
    assert plain.kv_dtype is None
    for byte, number in enumerate(numbers.flatten().tolist()):
        exponent, mantissa = byte >> 3 & 15, byte & 7
        size = mantissa * 2.0**-9 if exponent == 0 else (8 + mantissa) * 2.0 ** (exponent - 10)
        if byte & 0x7F == quantization.NAN_BYTE:
            assert number != number
        else:
            assert number == (-size if byte & 0x80 else size) * third.double().item()


def test_variants_have_the_bytes_and_scales_that_they_are_named_for():
    k, v, *_ = bytes_of("saturated_bytes")
    assert set(k.unique().tolist()) == set(v.unique().tolist()) == {0x7E, 0xFE}
    k, *_ = bytes_of("subnormal_bytes")
    assert set((k & 0x7F).unique().tolist()) == set(range(8))
    k, v, *_ = bytes_of("nan_bytes")
    assert (k == 0xFF).nonzero().tolist() == [[0, 0, 20, 0]]
    assert (v == 0xFF).nonzero().tolist() == [[0, 1, 20, 1]]
    *_, k_scales, v_scales = bytes_of("uneven_scales")
    assert (k_scales[0] / k_scales[1]).item() > 8
    *_, k_scales, v_scales = bytes_of("zero_scales")
    assert (k_scales[1].item(), v_scales[0].item()) == (0.0, 0.0)
    assert k_scales[0] > 0 < v_scales[1]


def test_what_no_sequence_has_is_nan():
    k, v, *_ = bytes_of("normal", SHAPE + ",lengths=40+7,page=8")
    assert k.shape == v.shape == (8, 8, 2, 16)
    assert (k == quantization.NAN_BYTE).sum() == (8 * 8 - 47) * 2 * 16


@pytest.mark.parametrize("variant", ["gapped", "packed"])
def test_rows_stay_aligned_in_layouts(variant):
    _, k, v, *_ = attention.parse(SHAPE).inputs(0, variant, "cpu")
    assert all(stride % 16 == 0 for tensor in (k, v) for stride in tensor.stride()[:3])


def test_cases_have_no_infinite_keys_and_values():
    problem = attention.parse(SHAPE)
    variants = {case.variant for case in (*problem.cases(), *problem.random_cases(1))}
    assert not variants & set(adversaries.INFINITE)
    assert variants >= {*adversaries.QUANTIZED, "infinite_query", "nan_key"}
    assert not {case.variant for case in attention.parse("mission").cases()} & set(adversaries.QUANTIZED)


def test_bounds_bear_no_rounding_of_keys_to_the_type_of_the_queries():
    """Weights are rounded to it; keys and values need not be."""
    problem = attention.parse("b=1,h=2,s=16,t=300,d=64,dtype=bf16,kv_dtype=fp8")
    inputs = problem.inputs(0, "normal", "cpu")
    (reference,), (plain,) = problem.reference(inputs), problem.plain(inputs)
    rounded = problem.baselines("cpu")["sdpa"](*inputs)
    assert isinstance(rounded, torch.Tensor)
    of_plain, of_rounded = ((each.double() - reference).square().mean().item() for each in (plain, rounded))
    assert of_plain < of_rounded


def test_the_mirror_flips_signs_of_bytes():
    problem = attention.parse(SHAPE)
    inputs = problem.inputs(0, "nan_bytes", "cpu")
    (expected,) = problem.reference(inputs)
    assert problem.mirror(inputs) == (-1,)
    torch.testing.assert_close(problem.reference(inputs)[0], -expected, equal_nan=True, rtol=0, atol=0)


def test_families_take_them_or_say_that_they_do_not():
    facts, problem = cuda.of_arch("sm_90a").facts, attention.parse("decode_fp8")
    for name in ("decode", "scalar"):
        assert load(name).refusals(problem, facts) == []
    for name in ("mma", "hopper", "split", "wmma"):
        assert load(name).refusals(problem, facts) == ["it lacks kv_dtype"]
    narrow = problem.model_copy(update={"head_dim": 72})
    assert load("decode").refusals(narrow, facts) == ["rows of keys and values are moved 16 bytes at a time"]


def test_rivals_decline_them():
    problem = attention.parse("decode_fp8")
    refusals = {rival.name: rival.refusal(problem) for target in ("cuda", "cpu") for rival in of_attention(target)}
    assert all(refusals.values()), refusals
    assert refusals["flashinfer-decode"] == "its scales of keys and of values are one for all heads"
