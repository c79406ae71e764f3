"""Sequences of their own lengths, and keys and values in pages.

A problem with `lengths` has as many keys of each sequence as an input of int32 says, at most `seq_kv`. With a
`page_size` keys and values lie in pages, as in vLLM (arXiv:2309.06180): caches of the shape (pages, page size,
kv_heads, head size), and a block table (batch, pages of a sequence) of int32 with the numbers of each sequence's pages,
in order. Packed sequences lie one after another: all rows of q, (1, heads, rows of all, head size), and all keys and
values, in memory row by row; inputs of int32 say where each one's begin.

What no sequence has is poisoned, so that a kernel that reads it shows: NaN for keys and values beyond a sequence's
last, and page numbers that do not exist in the rest of the block table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from evoflash.problems.attention import paging
from evoflash.problems.attention.quantization import NAN_BYTE
from evoflash.problems.attention.tensors import AttentionTensors
from evoflash.problems.base import Inputs

if TYPE_CHECKING:
    import torch

POOL = 2**24  # numbers that are drawn for keys or values of many sequences; more are made of these


def draw(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Keys or values (batch, heads, keys, size) from a normal distribution.

    Of many sequences, all have the numbers of a few, in an order and with signs of their own.
    """
    import torch

    batch, *rest = shape
    few = max(1, POOL // max(1, rest[0] * rest[1] * rest[2]))
    if batch <= few:
        return torch.randn(shape, generator=generator)
    pool = torch.randn((few, *rest), generator=generator)
    made = torch.empty(shape)
    for number in range(batch):
        signs = torch.randint(0, 2, (rest[0], 1, rest[2]), generator=generator) * 2.0 - 1.0
        turn = int(torch.randint(0, rest[1], (1,), generator=generator).item())
        torch.mul(pool[number % few].roll(turn, dims=1), signs, out=made[number])
    return made


def stored(problem: AttentionTensors, tensor: torch.Tensor, table: torch.Tensor | None) -> torch.Tensor:
    """Keys or values (batch, heads, keys, size), numbers or bytes, as the problem has them, with NaN in what no
    sequence has.

    The last keys of the tensor are those of a shorter sequence, so that what is special about the last one stays.

    Args:
        table: the block table; None without pages.
    """
    _, heads, most, size = tensor.shape
    nothing = float("nan") if tensor.is_floating_point() else NAN_BYTE
    if table is None:
        kept = tensor.new_full(tensor.shape, nothing)
        for number, length in enumerate(problem.key_lengths):
            kept[number, :, :length] = tensor[number, :, most - length :]
        return kept
    page = problem.page_size or 1
    cache = tensor.new_full((problem.cache_pages, page, heads, size), nothing)
    rows = cache.view(-1, heads, size)
    for number, length in enumerate(problem.key_lengths):
        rows[_places(table[number], length, page)] = tensor[number, :, most - length :].transpose(0, 1)
    return cache


def gathered(problem: AttentionTensors, number: int, tensor: torch.Tensor, table: torch.Tensor | None) -> torch.Tensor:
    """The keys or values of a sequence: (heads, its length, size).

    Args:
        tensor: those of all, as the problem has them.
        table: the block table; None without pages.
    """
    length = problem.key_lengths[number]
    if problem.is_packed:
        begin = paging.starts(problem.key_lengths)[number]
        return tensor[0, :, begin : begin + length]
    if table is None:
        return tensor[number, :, :length]
    places = _places(table[number], length, tensor.shape[1])
    return tensor[places // tensor.shape[1], places % tensor.shape[1]].transpose(0, 1)


def packed(tensor: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """Rows, keys or values (batch, heads, most, size) of packed sequences: the last `lengths` ones of each."""
    import torch

    most = tensor.shape[2]
    parts = [each[:, most - length :].transpose(0, 1) for each, length in zip(tensor, lengths, strict=True)]
    return torch.cat(parts).transpose(0, 1)[None]


def rows_of(problem: AttentionTensors, number: int, tensor: torch.Tensor) -> torch.Tensor:
    """The rows of a sequence in q or the output of a problem: a view (1, heads, its rows, size)."""
    if not problem.is_packed:
        return tensor[number : number + 1]
    begin, end = paging.starts(problem.query_lengths)[number : number + 2]
    return tensor[:, :, begin:end]


def sequences(problem: AttentionTensors, inputs: Inputs) -> Iterator[tuple[int, AttentionTensors, Inputs]]:
    """Each sequence that has keys: its number, the dense problem that it is by itself, and the inputs of that."""
    extras = dict(problem.extras(inputs))
    table = extras.get("block_table")
    for name in ("lengths", "block_table", "q_starts", "k_starts"):
        extras.pop(name, None)
    q, k, v, *_ = inputs
    for number, length in enumerate(problem.key_lengths):
        if length == 0:
            continue
        kv = (gathered(problem, number, each, table)[None] for each in (k, v))
        rows = problem.rows_of(length)
        alone = {"lengths": "", "page_size": None, "layout": "bhsd", "batch": 1, "seq_q": rows, "seq_kv": length}
        if rows == length:  # so that SDPA needs no mask for what is causal
            alone["align"] = "top_left"
        own = problem.model_copy(update=alone)
        yield number, own, (rows_of(problem, number, q), *kv, *_own(extras, number, rows, length))


def padded(problem: AttentionTensors, tensor: torch.Tensor, table: torch.Tensor | None) -> torch.Tensor:
    """Dense keys or values (batch, heads, seq_kv, size), with zeros after those of a shorter sequence."""
    size = tensor.shape[3]
    made = tensor.new_zeros((problem.batch, problem.kv_heads, problem.seq_kv, size))
    for number, length in enumerate(problem.key_lengths):
        made[number, :, :length] = gathered(problem, number, tensor, table)
    return made


def _own(extras: dict[str, torch.Tensor], number: int, rows: int, length: int) -> Iterator[torch.Tensor]:
    """What is left of the other inputs for one sequence."""
    for name, tensor in extras.items():
        if name in ("bias", "mask"):
            row = tensor[number : number + 1] if tensor.shape[0] > 1 else tensor
            row = row[:, :, :rows] if row.shape[2] > 1 else row
            yield row[..., :length] if row.shape[3] > 1 else row
        else:
            yield tensor


def _places(pages: torch.Tensor, length: int, page_size: int) -> torch.Tensor:
    """The rows of a cache, counted over its pages, that hold the keys of a sequence."""
    import torch

    keys = torch.arange(length, device=pages.device)
    return pages[keys // page_size].long() * page_size + keys % page_size
