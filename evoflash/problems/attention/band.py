"""A band: the keys that each query row sees, by their distance from a diagonal of the matrix of scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Band:
    """Row i sees the keys from i + diagonal - left to i + diagonal + right.

    Attributes:
        diagonal: the key at which row 0 stands: 0 for a top-left alignment, keys - rows for a bottom-right one.
        left, right: keys that are seen before and after it, at most; None: all.
    """

    diagonal: int = 0
    left: int | None = None
    right: int | None = None

    @property
    def is_limited(self) -> bool:
        """Whether it hides any key from any row."""
        return self.left is not None or self.right is not None

    def counted_from(self, diagonal: int) -> Band:
        """The same band about another diagonal; its sides may be negative there, which hides the diagonal itself."""
        shift = diagonal - self.diagonal
        left = None if self.left is None else self.left + shift
        right = None if self.right is None else self.right - shift
        return Band(diagonal, left, right)

    def visible(self, rows: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Whether each of these rows (numbers, of shape (r,)) sees each of these keys (k,): a boolean (r, k)."""
        import torch

        distance = keys[None, :] - rows[:, None] - self.diagonal
        seen = torch.ones_like(distance, dtype=torch.bool)
        if self.left is not None:
            seen &= distance >= -self.left
        if self.right is not None:
            seen &= distance <= self.right
        return seen

    def seen(self, rows: int, keys: int) -> tuple[int, int]:
        """The first of these keys that any of these rows sees, and the one after the last; equal if there is none."""
        begin = 0 if self.left is None else min(max(self.diagonal - self.left, 0), keys)
        end = keys if self.right is None else min(max(self.diagonal + rows + self.right, 0), keys)
        return min(begin, end), end

    def pairs(self, rows: int, keys: int) -> int:
        """How many pairs of a row and a key that it sees there are."""
        ends = rows * keys if self.right is None else _clipped_sum(self.diagonal + self.right + 1, rows, keys)
        starts = 0 if self.left is None else _clipped_sum(self.diagonal - self.left, rows, keys)
        return ends - starts


def _clipped_sum(first: int, count: int, limit: int) -> int:
    """The sum of min(max(first + i, 0), limit) over i < count."""
    zeros = min(max(-first, 0), count)
    rising = min(max(limit - first, 0), count) - zeros
    start = first + zeros
    return rising * start + rising * (rising - 1) // 2 + (count - zeros - rising) * limit
