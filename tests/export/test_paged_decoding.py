"""A program that decodes with a paged cache: a layer of a Llama-like model, by FlashAttention's own function."""

import importlib
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from evoflash import targets
from evoflash.codegen.template import load as load_family
from evoflash.export.package import write
from evoflash.export.winner import Winner
from evoflash.flattening import flatten
from evoflash.problems import attention

from .conftest import load

BATCH, HEADS, KV_HEADS, SIZE, WIDTH, WORDS = 3, 4, 2, 16, 64, 97
PAGE_SIZE, MOST_PAGES = 8, 5  # of a sequence
BEFORE, STEPS = (13, 2, 20), 16  # how many keys the sequences have at first, and how many they get


def winner(name: str) -> Winner:
    """A kernel of cpu_flash for the decoding of paged sequences."""
    sizes = f"b={BATCH},h={HEADS},kv={KV_HEADS},s=1,t={PAGE_SIZE * MOST_PAGES},d={SIZE}"
    problem = attention.parse(f"{sizes},dtype=fp32,lengths=uniform,page={PAGE_SIZE}")
    facts, family = targets.detect("cpu").facts, load_family("cpu_flash")
    genes = {"specialised": False, "threads": 2, "pack": "head", "row_blocks": 1, "qk_rows": 4, "panels": 1}
    genome = family.space([problem], facts).repair(genes, random.Random(0))
    source = flatten(family.render(genome, problem, facts).text)
    return Winner(name, "cpu_flash", dict(genome), source, "c++", "cpu", None, problem, {})


class Cache:
    """Keys and values in pages, those of a few first keys drawn; NaN in what no sequence has yet."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        shape = (BATCH * MOST_PAGES, PAGE_SIZE, KV_HEADS, SIZE)
        self.k, self.v = torch.full(shape, math.nan), torch.full(shape, math.nan)
        self.table = torch.randperm(shape[0], generator=generator).view(BATCH, MOST_PAGES).int()
        self.lengths = torch.tensor(BEFORE, dtype=torch.int32)
        for pages, length in zip(self.table, BEFORE, strict=True):
            keys = torch.arange(length)
            for each in (self.k, self.v):
                drawn = torch.randn(length, KV_HEADS, SIZE, generator=generator)
                each[pages[keys // PAGE_SIZE], keys % PAGE_SIZE] = drawn

    def append(self, k: Tensor, v: Tensor) -> None:
        """Keys and values of one token each: (batch, kv heads, size)."""
        pages = self.table.gather(1, (self.lengths // PAGE_SIZE).long()[:, None])[:, 0]
        rows = self.lengths % PAGE_SIZE
        self.k[pages, rows], self.v[pages, rows] = k, v
        self.lengths += 1


class Layer(nn.Module):
    """Embedding, attention and a gated perceptron with RMS norms, rotary positions; random weights."""

    def __init__(self, attend: Callable[[Tensor, Cache], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attend = attend
        self.embedding = nn.Embedding(WORDS, WIDTH)
        self.norms = nn.ModuleList(nn.RMSNorm(WIDTH) for _ in range(3))
        self.qkv = nn.Linear(WIDTH, (HEADS + 2 * KV_HEADS) * SIZE, bias=False)
        self.out = nn.Linear(HEADS * SIZE, WIDTH, bias=False)
        self.gate, self.up = (nn.Linear(WIDTH, 2 * WIDTH, bias=False) for _ in range(2))
        self.down = nn.Linear(2 * WIDTH, WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        nn.init.normal_(self.out.weight)  # so that tokens are decided by what is attended to

    def forward(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Logits of the next tokens: (batch, words)."""
        x = self.embedding(tokens)
        qkv = self.qkv(self.norms[0](x)).unflatten(1, (-1, SIZE))
        q, k, v = qkv.split((HEADS, KV_HEADS, KV_HEADS), dim=1)
        q, k = (rotated(each, cache.lengths) for each in (q, k))
        cache.append(k, v)
        x = x + self.out(self.attend(q[:, None], cache).flatten(1))
        inner = self.norms[1](x)
        x = x + self.down(functional.silu(self.gate(inner)) * self.up(inner))
        return self.head(self.norms[2](x))


def rotated(x: Tensor, positions: Tensor) -> Tensor:
    angles = positions[:, None, None] * 10000.0 ** (-torch.arange(0, SIZE, 2) / SIZE)
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.cat([even * angles.cos() - odd * angles.sin(), even * angles.sin() + odd * angles.cos()], dim=-1)


def eager(q: Tensor, cache: Cache) -> Tensor:
    """Attention of one sequence after another: (batch, 1, heads, size)."""
    outs = []
    for sequence, length in enumerate(cache.lengths.tolist()):
        pages = cache.table[sequence, : -(-length // PAGE_SIZE)].long()
        k, v = (
            each[pages].flatten(0, 1)[:length].repeat_interleave(HEADS // KV_HEADS, 1) for each in (cache.k, cache.v)
        )
        weights = torch.softmax(torch.einsum("hd,khd->hk", q[sequence, 0], k) / math.sqrt(SIZE), dim=-1)
        outs.append(torch.einsum("hk,khd->hd", weights, v))
    return torch.stack(outs)[:, None]


@torch.inference_mode()
def decoded(attend: Callable[[Tensor, Cache], Tensor]) -> tuple[list[list[int]], Tensor]:
    """The tokens of each step, and the last logits."""
    layer, cache = Layer(attend), Cache()
    tokens, logits, found = torch.arange(BATCH), torch.empty(0), []
    for _ in range(STEPS):
        logits = layer(tokens, cache)
        tokens = logits.argmax(dim=-1)
        found.append(tokens.tolist())
    return found, logits


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> ModuleType:
    return load("exported_paged", write(winner("exported_paged"), tmp_path_factory.mktemp("paged") / "out"))


def test_a_paged_cache_is_decoded_as_eagerly(module: ModuleType):
    def by_the_package(q: Tensor, pages: Cache, lengths: Tensor | None = None) -> Tensor:
        seqlens = pages.lengths if lengths is None else lengths
        return module.flash_attn_with_kvcache(
            q, pages.k, pages.v, cache_seqlens=seqlens, block_table=pages.table, causal=True
        )

    before = module.stats()
    expected, logits = decoded(eager)
    tokens, found = decoded(by_the_package)
    assert tokens == expected
    assert len({*map(tuple, tokens)}) > STEPS // 2  # no loop of a few tokens
    assert decoded(lambda q, pages: by_the_package(q, pages, pages.lengths - 1))[0] != expected
    torch.testing.assert_close(found, logits)
    assert [after - before[name] for name, after in module.stats().items()] == [2 * STEPS, 0]
    selftest = importlib.import_module("exported_paged.selftest")
    assert selftest.main() == 0
    assert all(selftest.check(case).by_kernel for case in selftest.CASES)


@dataclass(frozen=True)
class Call:
    """A call of `flash_attn_with_kvcache` on a random cache.

    Attributes:
        together: keys and values are halves of one tensor, (pages, 2, ...) or, as vLLM has it, (2, pages, ...).
        margin: further columns of the block table, which the call's is a view of.
    """

    lengths: tuple[int, ...]
    rows: int
    group: int
    kv_heads: int
    page_size: int
    together: Literal["no", "pages", "halves"]
    heads_first: bool
    margin: int
    are_long: bool
    causal: bool


CALLS = st.builds(
    Call,
    lengths=st.lists(st.sampled_from((0, 1, 7, 8, 9, 16, 17, 40)), min_size=1, max_size=4).map(tuple),
    rows=st.sampled_from((1, 1, 1, 2, 5)),
    group=st.sampled_from((1, 2, 3)),
    kv_heads=st.sampled_from((1, 2)),
    page_size=st.sampled_from((PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, 3, 16)),
    together=st.sampled_from(("no", "pages", "halves")),
    heads_first=st.booleans(),
    margin=st.sampled_from((0, 3)),
    are_long=st.booleans(),
    causal=st.booleans(),
)


def made(call: Call) -> tuple[Tensor, Tensor, Tensor, dict[str, Any], Tensor]:
    """The arguments, with NaN where no sequence has a key, and attention in float64, one sequence after another."""
    generator = torch.Generator().manual_seed(len(call.lengths))
    each = -(-max(1, *call.lengths) // call.page_size)
    order = torch.randperm(len(call.lengths) * each + 2, generator=generator)
    whole = torch.full((len(call.lengths), each + call.margin), 2**31 - 1, dtype=torch.int32)
    size = (call.page_size, call.kv_heads, SIZE)
    shape = {"no": (2, len(order)), "halves": (2, len(order)), "pages": (len(order), 2)}[call.together]
    store = torch.full((*shape, *size), math.nan)
    k, v = store.unbind(1 if call.together == "pages" else 0)
    k, v = (half.clone() for half in (k, v)) if call.together == "no" else (k, v)
    heads = call.kv_heads * call.group
    q = torch.randn(len(call.lengths), call.rows, heads, SIZE, generator=generator)
    q = q.transpose(1, 2).contiguous().transpose(1, 2) if call.heads_first else q
    outs = []
    for number, length in enumerate(call.lengths):
        used = -(-length // call.page_size)
        own, keys = order[number * each : number * each + used], torch.arange(length)
        whole[number, :used] = own
        one, other = torch.randn(2, length, call.kv_heads, SIZE, generator=generator)
        place = (own[keys // call.page_size], keys % call.page_size)
        k[place], v[place] = one, other
        scores = torch.einsum("rhd,khd->hrk", q[number].double(), one.repeat_interleave(call.group, 1).double()) / 4
        hidden = keys > torch.arange(call.rows)[:, None] + length - call.rows
        weights = scores.masked_fill(hidden & call.causal, -math.inf).softmax(dim=-1).nan_to_num(0.0)
        outs.append(torch.einsum("hrk,khd->rhd", weights, other.repeat_interleave(call.group, 1).double()))
    dtype = torch.int64 if call.are_long else torch.int32
    lengths = torch.tensor(call.lengths, dtype=dtype)
    words = {"cache_seqlens": lengths, "block_table": whole[:, :each].to(dtype), "causal": call.causal}
    return q, k, v, words, torch.stack(outs).float()


def test_any_call_of_the_function_is_attention(module: ModuleType):
    counts: Counter[str] = Counter()

    @settings(deadline=None, derandomize=True, database=None, max_examples=200)
    @given(CALLS)
    def one(call: Call) -> None:
        q, k, v, words, expected = made(call)
        before = module.stats()
        torch.testing.assert_close(module.flash_attn_with_kvcache(q, k, v, **words), expected)
        (by,) = (name for name, count in module.stats().items() if count != before[name])
        # Several causal rows are a mask, which the kernel has not; and a page size is its own.
        assert (by == "SDPA") == (call.page_size != PAGE_SIZE or (call.causal and call.rows > 1)), by
        counts[by] += 1

    one()
    assert len(counts) == 2
    assert min(counts.values()) > 20
