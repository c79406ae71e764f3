"""Files in the form of KernelBench's tasks: a module, its inputs, and what it is made with."""

import pytest

from evoflash.problems.base import Inputs
from evoflash.problems.function.description import describe
from evoflash.problems.function.program import Program
from evoflash.problems.function.rivals import Compiled

torch = pytest.importorskip("torch")

NORMALISED = '''
"""A product, a shift that starts as noise, a normalisation of a batch."""
import torch
import torch.nn as nn
import torch.nn.functional as F

class Model(nn.Module):
    """In training, as it is made."""

    def __init__(self, in_features, out_features, shift_shape, eps=1e-5):
        super(Model, self).__init__()
        self.fc = nn.Linear(in_features, out_features)
        self.shift = nn.Parameter(torch.randn(shift_shape))
        self.bn = nn.BatchNorm1d(out_features, eps=eps)
        self.again = self.fc

    def forward(self, x):
        return F.leaky_relu(self.bn(self.fc(x) + self.shift), negative_slope=0.1)

batch_size = 2 * 512
in_features: int = 1024
out_features = hidden = 2048
doubled = 2 * out_features
shift_shape = (out_features,)

def get_inputs():
    return [torch.rand(batch_size, in_features)]

def get_init_inputs():
    return [in_features, out_features, shift_shape]
'''

MASKED = """
import torch

class Model(torch.nn.Module):
    def __init__(self, dim, window=(2, 3), bias=None):
        super().__init__()
        self.dim = dim

    def forward(self, x, mask, offset: float):
        return torch.cumsum(x * mask, dim=self.dim) + offset

batch_size = 512
input_shape = (1024, 4)
dim = 1

def get_inputs():
    x = torch.rand(batch_size, *input_shape)
    return [x, torch.randint(0, 2, x.shape).bool(), 0.25]

def get_init_inputs():
    return {"dim": dim}
"""

LOSS = """
import torch

class Model(torch.nn.Module):
    def forward(self, predictions, targets):
        loss = torch.nn.functional.cross_entropy(predictions, targets)
        return loss, torch.argmax(predictions, dim=1)

classes, rows = 1000, 16

def get_inputs():
    return [torch.randn(rows, classes), torch.randint(0, classes, (rows,))]

def get_init_inputs():
    return []
"""


def shapes(tensors) -> dict[str, tuple]:
    return {each.name: each.shape for each in tensors}


def test_what_a_file_computes_from_a_number_follows_it():
    small = {"batch_size": "8", "in_features": "4", "out_features": "6"}
    problem = describe("39_Norm_Form.py", NORMALISED, small, "cpu")
    assert (problem.name, problem.header[0]) == ("problem_39_norm_form", "problem_39_norm_form.h")
    assert dict(problem.sizes) == {"batch_size": 8, "in_features": 4, "out_features": 6, "hidden": 2048}
    assert shapes(problem.signature.inputs) == {
        "x": (8, 4), "shift": (6,), "fc_weight": (6, 4), "fc_bias": (6,), "bn_weight": (6,), "bn_bias": (6,),
        "bn_running_mean": (6,), "bn_running_var": (6,), "bn_num_batches_tracked": (),
    }  # fmt: skip
    assert shapes(problem.signature.outputs) == {"out": (8, 6)}
    numbers = {each.name: each.value for each in problem.signature.numbers}
    assert numbers == {"in_features": 4, "out_features": 6, "shift_shape_0": 6, "eps": 1e-5}
    assert problem.flops == 2 * 8 * 4 * 6
    default = Program.of(problem.file, problem.source).sizes
    assert (default["batch_size"], default["out_features"]) == (1024, 2048)


def test_parameters_are_those_that_a_kernel_is_given():
    problem = describe("norm.py", NORMALISED, {"batch_size": "8", "in_features": "4", "out_features": "6"}, "cpu")
    assert torch.equal(problem.inputs(3, "normal", "cpu")[2], problem.inputs(3, "normal", "cpu")[2])
    assert not torch.equal(problem.inputs(3, "normal", "cpu")[2], problem.inputs(4, "normal", "cpu")[2])
    first, second = (problem.inputs(seed, "normal", "cpu") for seed in (3, 4))
    for inputs in (first, second, first):
        (got,), (exact,) = problem.plain(inputs), problem.reference(inputs)
        assert torch.allclose(got.double(), by_hand(inputs), atol=1e-4)
        assert torch.allclose(exact, by_hand(inputs), atol=1e-12)
    statistics = first[6].clone(), first[8].clone()
    for call in (problem.baselines("cpu")["eager"], lambda *given: problem.plain(given)):
        call(*first)
        assert (torch.equal(first[6], statistics[0]), torch.equal(first[8], statistics[1])) == (True, True)


def by_hand(inputs: Inputs):
    x, shift, weight, bias, scale, offset = (each.double() for each in inputs[:6])
    y = x @ weight.T + bias + shift
    y = (y - y.mean(0)) / (y.var(0, correction=0) + 1e-5).sqrt() * scale + offset
    return torch.where(y > 0, y, 0.1 * y)


def test_masks_numbers_and_shapes_as_tuples():
    problem = describe("masked.py", MASKED, {"batch_size": "3", "input_shape_0": "5"}, "cpu")
    assert dict(problem.sizes) == {"batch_size": 3, "input_shape_0": 5, "input_shape_1": 4, "dim": 1}
    assert shapes(problem.signature.inputs) == {"x": (3, 5, 4), "mask": (3, 5, 4)}
    assert problem.signature.inputs[1].dtype == "bool"
    numbers = {each.name: each.value for each in problem.signature.numbers}
    assert numbers == {"dim": 1, "window_0": 2, "window_1": 3, "offset": 0.25}
    along = describe("masked.py", MASKED, {"batch_size": "3", "input_shape_0": "5", "dim": "2"}, "cpu")
    inputs = along.inputs(0, "normal", "cpu")
    assert torch.equal(along.reference(inputs)[0], (inputs[0].double() * inputs[1]).cumsum(2) + 0.25)


def test_a_loss_and_indices():
    problem = describe("loss.py", LOSS, {"classes": "10", "rows": "7"}, "cpu")
    assert shapes(problem.signature.outputs) == {"out0": (), "out1": (7,)}
    assert [each.dtype for each in problem.signature.outputs] == ["float32", "int64"]
    inputs = problem.inputs(0, "large", "cpu")
    assert inputs[1].max() < 10  # indices stay as they are
    loss, best = problem.outputs()
    exact = problem.reference(inputs)
    assert problem.bounds(best, exact[1], 0.0, 0.0).max_error == 0.0
    assert problem.bounds(loss, exact[0], 0.0, 0.0).max_error > 0.0


@pytest.mark.parametrize("really", [False, pytest.param(True, marks=pytest.mark.long)])
def test_compiled_modules_are_given_parameters_too(really, monkeypatch):
    if not really:
        monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    problem = describe("norm.py", NORMALISED, {"batch_size": "8", "in_features": "4", "out_features": "6"}, "cpu")
    compiled = Compiled()
    calls = []
    for seed in (3, 4):
        inputs = problem.inputs(seed, "normal", "cpu")
        before = [each.clone() for each in inputs]
        calls.append((compiled.bind(problem, inputs), inputs, before))
    for call, inputs, before in calls:
        assert torch.allclose(call(), problem.plain(inputs)[0], atol=1e-5)
        assert all(torch.equal(old, new) for old, new in zip(before, inputs, strict=True))
