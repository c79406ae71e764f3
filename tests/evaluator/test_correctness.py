"""What counts as right, on outputs made by hand."""

import math

import pytest

from evoflash.problems import Case
from evoflash.problems.attention import AttentionProblem, adversaries
from evoflash.worker.buffers import Arena, GuardedTensor
from evoflash.worker.references import References, WrongResultError

torch = pytest.importorskip("torch")


def reference_of(variant="normal", **changes):
    problem = AttentionProblem.of(1, 2, 40, 16, **{"dtype": "float16", **changes})
    return References("cpu").of(Case(name="by hand", problem=problem, seed=0, variant=variant))


def expected(reference):
    return reference.outputs[0].values


def right(reference):
    return expected(reference).to(reference.inputs[0].dtype)


def check(reference, *outputs):
    return reference.check(outputs, "by hand")


def test_the_rounded_reference_is_right():
    reference = reference_of()
    accuracy = check(reference, right(reference))
    assert accuracy.max_error <= accuracy.max_bound
    assert accuracy.rms_error <= accuracy.rms_bound


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_two_percent_error_of_the_scale_is_wrong(dtype):
    """The absolute caps let it pass; the bounds relative to SDPA's own error do not."""
    reference = reference_of(dtype=dtype)
    q, k, v = (tensor.double() for tensor in reference.inputs)
    out = (torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(16) * 1.02, dim=-1) @ v).to(reference.inputs[0].dtype)
    with pytest.raises(WrongResultError, match=r"error .* > .*worst at"):
        check(reference, out)


def test_the_place_of_the_worst_error_is_told():
    reference = reference_of()
    out = right(reference)
    out[0, 1, 17, 5] += 0.05
    with pytest.raises(WrongResultError, match=r"worst at \(0, 1, 17, 5\)") as raised:
        check(reference, out)
    assert raised.value.accuracy is not None
    assert raised.value.accuracy.worst_index == (0, 1, 17, 5)


@pytest.mark.parametrize(("value", "words"), [(math.nan, "unexpected NaN"), (math.inf, "error inf")])
def test_what_is_not_finite_is_wrong(value, words):
    reference = reference_of()
    out = right(reference)
    out[0, 0, 3, 2] = value
    with pytest.raises(WrongResultError, match=rf"{words}.*\(0, 0, 3, 2\)"):
        check(reference, out)


def test_a_nan_of_the_inputs_must_come_out_of_its_row_and_of_no_other():
    reference = reference_of("nan_row")
    assert expected(reference).isnan().any(dim=-1).sum() == 1
    check(reference, right(reference))
    with pytest.raises(WrongResultError, match="an input's NaN was not propagated"):
        check(reference, right(reference).nan_to_num())
    spread = right(reference)
    spread[0, 1, 0, 0] = math.nan
    with pytest.raises(WrongResultError, match="unexpected NaN"):
        check(reference, spread)


STRIDES = {"dense": (5120, 2560, 64, 1), "transposed": (5120, 64, 128, 1), "gapped": (9000, 4000, 72, 1)}


@pytest.mark.parametrize("stride", STRIDES.values(), ids=STRIDES)
def test_guards_notice_what_is_written_around_a_tensor_and_only_that(stride):
    guarded = GuardedTensor((1, 2, 40, 64), stride, torch.float16, torch.device("cpu"))
    assert guarded.unwritten().all()
    guarded.tensor.fill_(math.nan)  # a NaN that a kernel computes is not the poison
    assert not guarded.unwritten().any()
    assert guarded.guards_intact()
    own = torch.zeros_like(guarded._buffer, dtype=torch.bool)
    torch.as_strided(own, (1, 2, 40, 64), stride, guarded.tensor.storage_offset()).fill_(True)
    around = [0, own.nonzero().min().item() - 1, own.nonzero().max().item() + 1, len(own) - 1]
    gaps = (~own[around[1] + 1 : around[2]]).nonzero()
    for place in [*around, *(around[1] + 1 + gaps[:: max(1, len(gaps) // 3)]).flatten().tolist()]:
        guarded.poison()
        guarded._buffer[place] = math.nan
        assert not guarded.guards_intact()


def test_an_arena_tells_where_a_kernel_trespassed():
    reference = reference_of("gapped")
    arena = Arena(reference.inputs, AttentionProblem.of(1, 2, 40, 16, lse=True).outputs())
    assert arena.outputs[0].stride() == reference.inputs[0].stride()
    assert arena.outputs[1].is_contiguous()
    arena.workspace(100).fill_(0)
    assert arena.stray_write() is None
    written = zip(("out", "lse"), arena._written, strict=True)
    for name, guarded in (*written, ("inputs", arena._guarded[2]), ("workspace", arena._workspace)):
        assert guarded is not None
        guarded._buffer[-1] = 1
        assert arena.stray_write() == name
        guarded._buffer[-1] = guarded._buffer[0]
    assert arena.stray_write() is None


@pytest.mark.parametrize("causal", [False, True])
def test_a_nan_value_is_wanted_where_it_is_seen_and_allowed_where_the_mask_hides_it(causal):
    reference = reference_of("nan_value", causal=causal)
    lost = expected(reference).isnan()
    assert lost[0, 0, 20:, 1].all()
    assert lost.sum() == (20 if causal else 40)
    check(reference, right(reference))
    leaked = right(reference)
    leaked[0, 0, :, 1] = math.nan  # 0 * NaN, as SDPA's math backend has it
    check(reference, leaked)
    leaked[0, 0, 0, 2] = math.nan
    with pytest.raises(WrongResultError, match=r"unexpected NaN at \(0, 0, 0, 2\)"):
        check(reference, leaked)


def test_sdpa_itself_meets_the_contract_on_every_case():
    for causal in (False, True):
        problem = AttentionProblem.of(1, 2, 40, 16, dtype="float32", causal=causal)
        references = References("cpu")
        for case in problem.cases():
            reference = references.of(case)
            reference.check(case.problem.plain(reference.inputs), case.name)


def test_the_reference_is_that_of_torch_in_float64():
    from torch.nn.functional import scaled_dot_product_attention

    for shape in ({"seq_kv": 70, "kv_heads": 2, "causal": True}, {"scale": -0.3}):
        problem = AttentionProblem.of(3, 4, 50, 16, **shape)
        q, k, v = (tensor.double() for tensor in problem.inputs(5, "gapped", "cpu"))
        group = {"is_causal": problem.causal, "scale": problem.scale, "enable_gqa": True}
        torch.testing.assert_close(problem.reference((q, k, v))[0], scaled_dot_product_attention(q, k, v, **group))


def by_hand(q, k, v, causal):
    """Plain attention in float32, with the mask applied to the scores and hidden values left out."""
    scores = q.float() @ k.float().mT / math.sqrt(q.shape[-1])
    hidden = torch.ones_like(scores).tril() == 0 if causal else torch.zeros_like(scores, dtype=torch.bool)
    weights = torch.softmax(scores.masked_fill(hidden, -math.inf), dim=-1)
    products = weights[..., None] * v.float()[..., None, :, :]
    return products.masked_fill(hidden[..., None], 0).sum(dim=-2).to(q.dtype)


EXTREMES = (*adversaries.EXTREMES, *adversaries.INFINITE_KEYS, *adversaries.HUGE_SCORES)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("variant", EXTREMES)
def test_a_plain_kernel_is_right_on_extreme_numbers(variant, causal, dtype):
    reference = reference_of(variant, causal=causal, dtype=dtype)
    q, k, v = reference.inputs
    reference.check((by_hand(q, k, v, causal),), variant)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("variant", EXTREMES)
def test_extreme_numbers_leave_at_most_a_row_open(variant, dtype):
    """SDPA of some versions has no NaN where a row's score is infinite; all else is decided."""
    disputed = reference_of(variant, dtype=dtype).outputs[0].disputed
    assert disputed is None or disputed.any(dim=-1).sum() <= 1


@pytest.mark.parametrize("causal", [False, True])
def test_a_key_of_minus_infinity_weighs_nothing(causal):
    reference = reference_of("infinite_key", causal=causal)
    q, k, v = (tensor.clone() for tensor in reference.inputs)
    out = by_hand(q, k, v, causal)
    k[0, 0, 20] = 0
    with pytest.raises(WrongResultError, match="error"):
        check(reference, by_hand(q, k, v, causal))
    out[0, 0, 30, 5] = math.nan
    with pytest.raises(WrongResultError, match=r"unexpected NaN at \(0, 0, 30, 5\)"):
        check(reference, out)


def test_rows_whose_scores_are_all_minus_infinity_are_nan_or_zero():
    reference = reference_of("infinite_keys")
    out = right(reference)
    assert (out[0, 0] == 0).all()
    check(reference, out)
    out[0, 0] = math.nan
    check(reference, out)
    out[0, 0] = reference.inputs[2][0, 0].mean(dim=0)
    with pytest.raises(WrongResultError, match="error"):
        check(reference, out)


@pytest.mark.parametrize("causal", [False, True])
def test_an_infinite_value_is_infinite_where_it_is_seen_and_of_its_sign(causal):
    reference = reference_of("infinite_value", causal=causal)
    first = 20 if causal else 0
    assert (expected(reference)[0, 0, first:, 1] == math.inf).all()
    assert (expected(reference)[0, 0, first:, 2] == -math.inf).all()
    assert expected(reference)[0, 0, first:, 3].isnan().all()
    assert expected(reference)[0, 0, : max(0, first - 1)].isfinite().all()
    for wrong, words in ((math.nan, "unexpected NaN"), (-math.inf, "error inf"), (0.0, "error inf")):
        out = right(reference)
        out[0, 0, 30, 1] = wrong
        with pytest.raises(WrongResultError, match=words):
            check(reference, out)


def test_a_nan_that_is_seen_is_wanted_also_where_another_is_hidden():
    reference = reference_of("nan_value", causal=True)
    out = right(reference)
    out[0, 0, 25, 1] = 0
    with pytest.raises(WrongResultError, match=r"not propagated at \(0, 0, 25, 1\)"):
        check(reference, out)


def test_float16_values_may_not_be_flushed_to_zero():
    reference = reference_of("subnormal_values")
    with pytest.raises(WrongResultError, match="error"):
        check(reference, torch.zeros_like(right(reference)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_largest_values_have_bounds_relative_to_them(dtype):
    reference = reference_of("largest_values", dtype=dtype)
    out = right(reference)
    assert out.isfinite().all()
    with pytest.raises(WrongResultError, match="error"):
        check(reference, out * 1.02)


@pytest.mark.parametrize("sinks", [False, True])
def test_each_output_has_bounds_of_its_own_and_is_named(sinks):
    reference = reference_of(lse=True, sinks=sinks)
    out, lse = right(reference), reference.outputs[1].values.float()
    assert check(reference, out, lse).output in ("out", "lse")
    wrong = out.clone()
    wrong[0, 1, 17, 5] += 0.05
    with pytest.raises(WrongResultError, match=r"by hand: out: .*worst at \(0, 1, 17, 5\)"):
        check(reference, wrong, lse)
    with pytest.raises(WrongResultError, match="by hand: lse: max error") as raised:
        check(reference, out, lse / math.log(2))
    assert raised.value.accuracy is not None
    assert raised.value.accuracy.output == "lse"
    with pytest.raises(WrongResultError, match="by hand: lse: unexpected NaN"):
        check(reference, out, lse.where(lse != lse[0, 0, 3], math.nan))


def test_a_mirror_keeps_the_log_sum_exp():
    problem = AttentionProblem.of(1, 2, 40, 16, lse=True, causal=True)
    inputs = problem.inputs(0, "normal", "cpu")
    out, lse = problem.reference(inputs)
    assert problem.mirror(inputs) == (-1, 1)
    torch.testing.assert_close(problem.reference(inputs), (-out, lse), atol=0, rtol=0)
