"""A program that decodes with a paged cache: a layer of a Llama-like model, by FlashAttention's own function."""

import importlib
import math
import random
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from evoflash import problems, targets
from evoflash.codegen.template import load as load_family
from evoflash.export.package import write
from evoflash.export.winner import Winner
from evoflash.flattening import flatten

from .conftest import load

BATCH, HEADS, KV_HEADS, SIZE, WIDTH, WORDS = 3, 4, 2, 16, 64, 97
PAGE_SIZE, MOST_PAGES = 8, 5  # of a sequence
BEFORE, STEPS = (13, 2, 20), 16  # how many keys the sequences have at first, and how many they get


def winner(name: str) -> Winner:
    """A kernel of cpu_flash for the decoding of paged sequences."""
    sizes = f"b={BATCH},h={HEADS},kv={KV_HEADS},s=1,t={PAGE_SIZE * MOST_PAGES},d={SIZE}"
    problem = problems.parse(f"{sizes},dtype=fp32,lengths=uniform,page={PAGE_SIZE}")
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
    tokens, found = torch.arange(BATCH), []
    for _ in range(STEPS):
        logits = layer(tokens, cache)
        tokens = logits.argmax(dim=-1)
        found.append(tokens.tolist())
    return found, logits


def test_a_paged_cache_is_decoded_as_eagerly(tmp_path: Path, cache: Path):
    module = load("exported_paged", write(winner("exported_paged"), tmp_path / "out"))

    def by_the_package(q: Tensor, pages: Cache, lengths: Tensor | None = None) -> Tensor:
        seqlens = pages.lengths if lengths is None else lengths
        return module.flash_attn_with_kvcache(
            q, pages.k, pages.v, cache_seqlens=seqlens, block_table=pages.table, causal=True
        )

    expected, logits = decoded(eager)
    tokens, found = decoded(by_the_package)
    assert tokens == expected
    assert len({*map(tuple, tokens)}) > STEPS // 2  # no loop of a few tokens
    assert decoded(lambda q, pages: by_the_package(q, pages, pages.lengths - 1))[0] != expected
    torch.testing.assert_close(found, logits)
    assert list(module.stats().values()) == [2 * STEPS, 0]
    selftest = importlib.import_module("exported_paged.selftest")
    assert selftest.main() == 0
    assert all(selftest.check(case).by_kernel for case in selftest.CASES)
    module.flash_attn_with_kvcache(*(torch.zeros(1, 1, each, SIZE) for each in (HEADS, KV_HEADS, KV_HEADS)))
    assert module.stats()["SDPA"] == 1
