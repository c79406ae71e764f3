"""Builds and examinations take turns where they share the cores of a host."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Turns:
    """Any number of builds at once, or one examination, which goes first.

    Args:
        needed: otherwise nobody waits for anybody.
    """

    def __init__(self, *, needed: bool):
        self._needed = needed
        self._change = threading.Condition()
        self._builds = 0
        self._waiting = 0
        self._is_examining = False

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """Nothing is examined meanwhile."""
        with self._change:
            self._change.wait_for(lambda: not self._needed or (not self._is_examining and not self._waiting))
            self._builds += 1
        try:
            yield
        finally:
            with self._change:
                self._builds -= 1
                self._change.notify_all()

    @contextlib.contextmanager
    def examining(self) -> Iterator[None]:
        """Nothing is built meanwhile, nor examined."""
        if not self._needed:
            yield
            return
        with self._change:
            self._waiting += 1
            self._change.wait_for(lambda: not self._is_examining and not self._builds)
            self._waiting -= 1
            self._is_examining = True
        try:
            yield
        finally:
            with self._change:
                self._is_examining = False
                self._change.notify_all()
