"""Attention of other packages: one class for each function, which says what it takes and how it is called.

PyTorch's layout is (batch, heads, length, head size). Most others want (batch, length, heads, head size), which is a
view of the same memory. Where a package takes no such view, `bind` makes a copy beforehand, so that no rival is charged
for evoflash's layout.

Most packages let the last row stand at the last key, and count a window from there (see `requirements`).
"""

from evoflash.problems.attention.rivals.flash_attention import FlashAttention2, FlashAttention3, FlashAttention4
from evoflash.problems.attention.rivals.flashinfer import FlashInferDecode, FlashInferPrefill
from evoflash.problems.attention.rivals.flex_attention import FlexAttention
from evoflash.problems.attention.rivals.nested_sdpa import NestedSdpa
from evoflash.problems.attention.rivals.onednn_graph import OneDnnGraph
from evoflash.problems.attention.rivals.xformers import Xformers
from evoflash.problems.rival import Rival


def of_attention(target: str, packed: bool = False) -> tuple[Rival, ...]:
    """All rivals of a target ("cuda" or "cpu"), installed or not.

    Args:
        packed: for packed sequences; what takes these alone, and is part of PyTorch, is left out elsewhere.
    """
    every = (
        FlashAttention2(),
        FlashAttention3(),
        FlashAttention4(),
        Xformers(),
        FlashInferPrefill(),
        FlashInferDecode(),
        *([NestedSdpa()] if packed else []),
        FlexAttention(),
        OneDnnGraph(),
    )
    return tuple(each for each in every if target in each.targets)
