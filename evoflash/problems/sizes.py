"""Shapes as text: names, and sizes such as rows=16,columns=4096, several by commas."""

from collections.abc import Sequence

from evoflash.errors import UsageError


def fields_of(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """The sizes of shapes of a function, by what the user wrote: rows=16,columns=4096, several by commas.

    Raises:
        UsageError: for a part without a value.
    """
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        for shape in divided(text):
            pairs = [part.partition("=") for part in shape.split(",")]
            bare = [name for name, equals, _ in pairs if not equals]
            if bare:
                raise UsageError(f"--shape {shape}: {bare[0]!r} has no value; write sizes such as rows=16,columns=4096")
            found[shape] = {name.strip(): value.strip() for name, _, value in pairs}
    return found


def divided(text: str, flags: Sequence[str] = ()) -> list[str]:
    """A text divided into shapes: each is a name, or consecutive fields without a repeated key.

    Args:
        flags: fields that need no value.
    """
    shapes: list[list[str]] = []
    keys: set[str] = set()  # keys of the current fields
    for part in (each.strip() for each in text.split(",")):
        key, equals, _ = part.partition("=")
        is_field = bool(equals) or part in flags
        if part and is_field and keys and key not in keys:
            shapes[-1].append(part)
        elif part:
            shapes.append([part])
            keys = set()
        keys |= {key} if is_field else set()
    return [",".join(parts) for parts in shapes]
