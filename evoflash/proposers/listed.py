"""A strategy that proposes what it was given, and learns nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from evoflash.core.archive import Archive, Member
from evoflash.core.candidate import Proposal


class ListedProposer:
    """Takes the next proposal of each list by turns, until all lists are at their end.

    Args:
        lists: mostly one for each family.
    """

    def __init__(self, lists: Sequence[Iterator[Proposal]]):
        self._lists = deque(lists)

    def ask(self, archive: Archive) -> Proposal | None:
        """The next proposal; None at the end of all lists."""
        while self._lists:
            proposal = next(self._lists[0], None)
            if proposal is not None:
                self._lists.rotate(-1)
                return proposal
            self._lists.popleft()
        return None

    def tell(self, member: Member) -> None:
        """Does nothing: the list stands."""
