"""The format "c": the source with a C header, a CMake project and an example in C."""

from evoflash.export.formats import skeletons
from evoflash.export.winner import Winner

# What example.c knows of a dtype: the bits of the mantissa, the bias of the exponent.
ENCODINGS = {"float16": (10, 15), "bfloat16": (7, 127), "float32": (23, 127)}

# Features that the example has: sequences of their own lengths, pages, values of another size or in the keys. Rows at
# the end of their sequence ("align") only matter there under a causal mask.
KNOWN = ("value_dim", "latent", "align", "lengths", "page_size")


def files(winner: Winner) -> dict[str, str]:
    """A folder that `cmake` builds: a shared library with the functions of attention.h, and an example of a call."""
    problem = skeletons.attention(winner, KNOWN)
    mantissa, bias = ENCODINGS[problem.dtype]
    encoding = {"mantissa": mantissa, "bias": bias}
    return {
        winner.source_name: winner.source,
        **skeletons.headers(winner),
        "CMakeLists.txt": skeletons.render("c/CMakeLists.txt.j2", winner, KNOWN),
        "example.c": skeletons.render("c/example.c.j2", winner, KNOWN, **encoding),
        "README.md": skeletons.render("c/README.md.j2", winner, KNOWN),
    }
