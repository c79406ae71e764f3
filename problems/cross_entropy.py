"""Softmax cross-entropy of logits and target classes, with the gradient of its mean over the rows."""

from typing import NamedTuple

import torch


class CrossEntropy(NamedTuple):
    """`loss` of each row in float32, and `grad` of their mean with respect to the logits."""

    loss: torch.Tensor
    grad: torch.Tensor


LIKELY = 24  # classes of a row that have most of the probability

vary = {"rows": range(1, 20), "vocabulary": range(1000, 17000)}
cases = [{"rows": 3, "vocabulary": 1000}, {"rows": 5, "vocabulary": 50257}, {"rows": 2, "vocabulary": 262144}]


def cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> CrossEntropy:
    """-log(softmax(logits)[target]), and (softmax(logits) - one_hot(target)) / rows."""
    wide = logits.float()
    log_sum = torch.logsumexp(wide, -1, keepdim=True)
    loss = (log_sum - wide.gather(-1, target[:, None])).squeeze(-1)
    is_target = torch.arange(logits.shape[-1], device=logits.device) == target[:, None]
    grad = (torch.exp(wide - log_sum) - is_target.float()) / logits.shape[0]
    return CrossEntropy(loss, grad.to(logits.dtype))


def get_inputs(rows: int = 4096, vocabulary: int = 128256, dtype: str = "bfloat16"):
    """Logits as a language model has them: a few classes are likely, others are not.

    A gradient that is spread evenly would hide mistakes: its elements are far below the rounding of the target's.
    """
    logits = torch.randn(rows, vocabulary, dtype=getattr(torch, dtype))
    places = torch.randint(vocabulary, (rows, LIKELY))
    places[:, 0], places[:, 1] = 0, vocabulary - 1
    logits.scatter_(-1, places, torch.full((), 14.0, dtype=logits.dtype) + logits.gather(-1, places))
    return logits, torch.randint(vocabulary, (rows,))


def flops(rows: int, vocabulary: int) -> int:
    """A comparison, two differences, two exponentials, an addition and a product for each element."""
    return 7 * rows * vocabulary
