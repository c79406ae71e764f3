"""A shortage of memory for what evoflash itself allocates, which is no kernel's fault."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from evoflash.system.memory import CPU_ALLOCATOR


class ShortageError(Exception):
    """There is no memory for the inputs of a case, its reference or its output."""


@contextlib.contextmanager
def own_memory(what: str) -> Iterator[None]:
    """Within it, a shortage of memory is not the kernel's.

    Raises:
        ShortageError: instead of the allocator's error; names `what` the memory is for.
    """
    import torch

    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ShortageError(_message(what, error)) from error
    except RuntimeError as error:
        if not any(words in str(error) for words in CPU_ALLOCATOR):
            raise
        raise ShortageError(_message(what, error)) from error


def _message(what: str, error: Exception) -> str:
    first = str(error).splitlines()[0] if str(error) else "no memory"
    return f"there is no memory for {what}: {first}"
