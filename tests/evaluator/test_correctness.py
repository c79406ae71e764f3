"""What counts as right, on outputs made by hand."""

import math

import pytest

from evoflash.evaluator import correctness
from evoflash.evaluator.correctness import WrongError, judge
from evoflash.problems import AttentionProblem, Case

torch = pytest.importorskip("torch")


def oracle(variant="normal", **changes):
    problem = AttentionProblem.of(1, 2, 40, 16, **{"dtype": "float16", **changes})
    return correctness.Oracles("cpu").of(Case(name="by hand", problem=problem, seed=0, variant=variant))


def right(truth):
    return truth.reference.to(truth.inputs[0].dtype)


def test_the_rounded_reference_is_right():
    truth = oracle()
    accuracy = judge(right(truth), truth, "by hand")
    assert accuracy.max_error <= accuracy.max_bound
    assert accuracy.rms_error <= accuracy.rms_bound


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_two_percent_error_of_the_scale_is_wrong(dtype):
    """The absolute caps let it pass; the bounds relative to SDPA's own error do not."""
    truth = oracle(dtype=dtype)
    q, k, v = (tensor.double() for tensor in truth.inputs)
    out = (torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(16) * 1.02, dim=-1) @ v).to(truth.inputs[0].dtype)
    with pytest.raises(WrongError, match=r"error .* > .*worst at"):
        judge(out, truth, "by hand")


def test_the_place_of_the_worst_error_is_told():
    truth = oracle()
    out = right(truth)
    out[0, 1, 17, 5] += 0.05
    with pytest.raises(WrongError, match=r"worst at \(0, 1, 17, 5\)") as raised:
        judge(out, truth, "by hand")
    assert raised.value.accuracy is not None
    assert raised.value.accuracy.worst_index == (0, 1, 17, 5)


@pytest.mark.parametrize(("value", "words"), [(math.nan, "left NaN or nothing"), (math.inf, "error inf")])
def test_what_is_not_finite_is_wrong(value, words):
    truth = oracle()
    out = right(truth)
    out[0, 0, 3, 2] = value
    with pytest.raises(WrongError, match=rf"{words}.*\(0, 0, 3, 2\)"):
        judge(out, truth, "by hand")


def test_a_nan_of_the_inputs_must_come_out_of_its_row_and_of_no_other():
    truth = oracle("nan_row")
    assert truth.reference.isnan().any(dim=-1).sum() == 1
    judge(right(truth), truth, "by hand")
    with pytest.raises(WrongError, match="the NaN of an input was lost"):
        judge(right(truth).nan_to_num(), truth, "by hand")
    spread = right(truth)
    spread[0, 1, 0, 0] = math.nan
    with pytest.raises(WrongError, match="left NaN or nothing"):
        judge(spread, truth, "by hand")


def test_guard_bands_notice_a_row_too_many():
    output = correctness.Output((1, 2, 40, 16), torch.zeros(1))
    output.tensor.fill_(1.0)
    assert not output.written_outside()
    for edge in (output.tensor.storage_offset() - 1, output.tensor.storage_offset() + output.tensor.numel()):
        output.poison()
        output._buffer[edge] = 1.0
        assert output.written_outside()
    assert output.tensor.isnan().all()
