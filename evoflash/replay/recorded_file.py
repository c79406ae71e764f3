"""The T4 file of a recorded space: read, added to over several sittings, and written."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.core.genome import Genome
from evoflash.errors import StorageError, UsageError
from evoflash.replay.formats import t4
from evoflash.replay.formats.reading import parsed, text_of
from evoflash.replay.formats.refusals import MisfitError, NoRecordingError
from evoflash.space.parameter import Parameter

ENDINGS = (".json", ".json.gz")


@dataclass
class RecordedFile:
    """A recorded space as it is in a file.

    Attributes:
        metadata: what was measured, how and where, without the families.
        families: the declared parameters of each family.
        results: T4 results by family and digest of the genome; the first of equal genomes counts.
    """

    metadata: dict[str, Any] = field(default_factory=dict)
    families: dict[str, dict[str, Parameter]] = field(default_factory=dict)
    results: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a file that `write` wrote.

        Raises:
            UsageError: when it cannot be read, or is no such file.
        """
        try:
            content = parsed(text_of(path))
            families = t4.parameters(content)
            if not families:
                raise NoRecordingError("names no families")
            rows = t4.family_of_each("", content)
        except (MisfitError, NoRecordingError) as error:
            raise UsageError(f"{path} is no recorded space ({error}); choose another file") from None
        found = cls(
            {name: value for name, value in content["metadata"].items() if name not in ("families", "timeunit")},
            families,
        )
        for (family, genome), result in zip(rows, content["results"], strict=True):
            found.results.setdefault((family, genome.digest), {**result, "configuration": dict(genome)})
        return found

    def known(self, family: str) -> set[str]:
        """The digests of a family's genomes that have a result."""
        return {digest for own, digest in self.results if own == family}

    def add(self, pairs: Iterable[tuple[Candidate, Evaluation]]) -> int:
        """Adds candidates; returns how many of them had no result before."""
        before = len(self.results)
        for family, result in t4.results(pairs):
            self.results.setdefault((family, Genome(result["configuration"]).digest), result)
        return len(self.results) - before

    def document(self) -> dict[str, Any]:
        """The T4 document."""
        rows = [(family, result) for (family, _), result in self.results.items()]
        return t4.assembled(rows, self.families, self.metadata)

    def write(self, path: Path) -> None:
        """Writes the file in place of an earlier one, which stays as it is when that fails.

        Raises:
            StorageError: when it cannot be written.
        """
        data = json.dumps(self.document(), separators=(",", ":")).encode()
        partial = path.with_name(f"{path.name}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
            os.replace(partial, path)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}; choose another --out") from None


def require_name(path: Path) -> None:
    """Raises UsageError for a path that is no name of T4 results."""
    if not path.name.endswith(ENDINGS):
        raise UsageError(f"{path} is no name of T4 results; write a .json or .json.gz file")
