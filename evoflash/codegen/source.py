"""What a template renders: one self-contained file, which is searched, stored and exported."""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

INCLUDE_PATH = "// include path: "
INTERFACE = re.compile(r'const char evoflash_interface\[\] =\s*((?:"[^"\n]*"\s*)+);')  # of the generated header


@dataclass(frozen=True)
class Source:
    """One rendered, self-contained source file.

    Attributes:
        text: the file.
        language: "cuda", "c++", or "python" for a module with a function `launch`, which may be Triton's.
        shared_bytes: dynamic shared memory of a block by the space's formula `shared_bytes`; None where it has none.
        max_spill_bytes: the manifest's.
    """

    text: str
    language: Literal["cuda", "c++", "python"]
    shared_bytes: int | None = field(default=None, compare=False)
    max_spill_bytes: int | None = field(default=None, compare=False)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the text; equal for duplicates."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def interface(self) -> str | None:
        """The signature of the C interface that it was rendered for (see `CInterface`); None if it says none."""
        found = INTERFACE.search(self.text)
        return "".join(re.findall(r'"([^"\n]*)"', found[1])) if found else None

    @property
    def include_paths(self) -> tuple[Path, ...]:
        """Folders of headers that the compiler is told of, as the first lines say: a source on record has them, too."""
        lines = itertools.takewhile(lambda line: line.startswith(INCLUDE_PATH), self.text.splitlines())
        return tuple(Path(line.removeprefix(INCLUDE_PATH)) for line in lines)
