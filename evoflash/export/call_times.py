"""The time of a call from Python, of an export and of its rival."""

from __future__ import annotations

from pydantic import AliasChoices, Field

from evoflash.core.record import Record


class Calls(Record):
    """Microseconds of a call at the searched size, back to back and, on CUDA, without a graph.

    Attributes:
        size: the searched one, e.g. batch x heads(kv heads) x query length:key length.
        by: what computes the package's calls: a kernel or PyTorch.
        us: by function: the package's own first ("attention"), then others of it, and the rival.
        ratio: how many times as fast as the rival a call is: median and quartiles over the rounds.
        rival: of attention "SDPA", or PyTorch's operations where SDPA has no argument for the problem; else "eager".
        torch: PyTorch's version.
    """

    size: str
    by: str
    us: dict[str, float]
    # Packages for attention, and what is on record of them, have the older name.
    ratio: tuple[float, float, float] = Field(validation_alias=AliasChoices("ratio", "sdpa_over_attention"))
    torch: str
    rival: str = "SDPA"

    def __str__(self) -> str:
        ratio, low, high = self.ratio
        times = ", ".join(f"{name} {us:.2f} us" for name, us in self.us.items())
        return f"a call from Python: {times}; {ratio:.2f}x {self.rival} [{low:.2f}, {high:.2f}]; {self.by}"
