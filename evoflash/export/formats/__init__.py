"""Other forms of an exported kernel than the package: a format's name -> what writes a winner in it.

Each function returns relative paths with their texts, and writes the winner itself without `winner.others`.
"""

from collections.abc import Callable

from evoflash.export.formats import c, flashinfer_bench, hf_kernels, kernelbench
from evoflash.export.winner import Winner

FORMATS: dict[str, Callable[[Winner], dict[str, str]]] = {
    "c": c.files,
    "hf-kernels": hf_kernels.files,
    "flashinfer-bench": flashinfer_bench.files,
    "kernelbench": kernelbench.files,
}
