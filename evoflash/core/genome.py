"""A genome: the parameter values from which a template renders one kernel."""

import functools
import hashlib
import json
from collections.abc import ItemsView, Iterator, Mapping, ValuesView

Gene = int | float | str | bool


class Genome(Mapping[str, Gene]):
    """A frozen mapping of parameter names to values, ordered by name, hashable, with a digest.

    >>> Genome({"rows": 64, "fast": True}).digest == Genome({"fast": True, "rows": 64}).digest
    True
    """

    __slots__ = ("__dict__", "_values")

    def __init__(self, values: Mapping[str, Gene]):
        self._values = dict(sorted(values.items()))

    def __getitem__(self, name: str) -> Gene:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def items(self) -> ItemsView[str, Gene]:
        """As of any mapping; those that it would inherit look up one gene after the other."""
        return self._values.items()

    def values(self) -> ValuesView[Gene]:
        """In the order of the names."""
        return self._values.values()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Genome) and self.canonical == other.canonical

    def __repr__(self) -> str:
        return f"Genome({', '.join(f'{name}={value}' for name, value in self.items())})"

    @functools.cached_property
    def canonical(self) -> str:
        """Canonical JSON: independent of insertion order, and True differs from 1."""
        return json.dumps(self._values, separators=(",", ":"))

    @functools.cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits that identify this genome."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()[:12]

    def replace(self, **changes: Gene) -> "Genome":
        """A copy with some genes changed."""
        return Genome({**self._values, **changes})

    def changes_from(self, parent: "Genome") -> dict[str, tuple[Gene | None, Gene | None]]:
        """Genes that differ from a parent's: name -> (parent's value, own value); None where a gene is missing."""
        names = [*parent, *(name for name in self if name not in parent)]
        return {
            name: (parent.get(name), self.get(name)) for name in names if repr(parent.get(name)) != repr(self.get(name))
        }
