import pytest

from evoflash.errors import NotFoundError, UsageError
from evoflash.problems.attention import AttentionProblem, parse_all


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["mission"], ["mission"]),
        (["mission, bert,", "tiny"], ["mission", "bert", "tiny"]),
        (["mission,b=1,h=8,s=64,d=64,causal,bert"], ["mission", "b=1,h=8,s=64,d=64,causal", "bert"]),
        (["b=1,h=2,s=3,d=8,b=2,h=2,s=3,d=8"], ["b=1,h=2,s=3,d=8", "b=2,h=2,s=3,d=8"]),
        (["causal,b=1,h=2,s=3,d=8,tiny"], ["causal,b=1,h=2,s=3,d=8", "tiny"]),
        (["mission", "b=1,h=8,s=512,d=64", "mission"], ["mission"]),  # one problem by three names
    ],
)
def test_several_shapes_are_told_apart(texts, names):
    assert list(parse_all(texts)) == names


def test_fields_are_those_of_their_own_shape():
    found = parse_all(["b=1,h=2,s=3,d=8,dtype=bf16,b=2,h=4,kv=2,s=5,t=7,d=8,causal"])
    first, second = found.values()
    assert first == AttentionProblem.of(1, 2, 3, 8, dtype="bfloat16")
    assert second == AttentionProblem.of(2, 4, 5, 8, kv_heads=2, seq_kv=7, causal=True)


@pytest.mark.parametrize(
    ("texts", "error", "says"),
    [
        (["mission,misison"], NotFoundError, "did you mean 'mission'"),
        (["mission,b=1"], UsageError, "'h' is missing"),
        (["tiny,causal"], NotFoundError, "unknown shape 'causal'"),
        ([" , "], UsageError, "no shape is given"),
    ],
)
def test_what_is_no_shape_is_said(texts, error, says):
    with pytest.raises(error, match=says):
        parse_all(texts)


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, -1000.0])
def test_scores_under_a_large_scale_are_no_larger_than_under_the_default(scale: float):
    problem = AttentionProblem.of(1, 2, 64, 64, dtype="float32", scale=scale)
    q, k, _ = problem.inputs(0, "normal", "cpu")
    assert (problem.softmax_scale * q @ k.mT).std() < 1.5
    default, _, _ = AttentionProblem.of(1, 2, 64, 64, dtype="float32").inputs(0, "normal", "cpu")
    assert (q == default).all() == (abs(scale) < 1 / 8)
