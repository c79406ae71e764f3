"""The C header of a problem, which its templates include: a struct with the names of its signature."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from evoflash.problems.function.signature import Number, Signature, Tensor

TEXT = """\
/* {about}
   Generated from the signature of {name}: what a kernel receives, and the two functions that it exports. */
#ifndef EVOFLASH_{guard}_H
#define EVOFLASH_{guard}_H

#include "evoflash.h"

typedef struct {{
{members}
  void *workspace; /* evoflash_workspace_bytes() bytes, contents undefined */
}} {struct};

#ifndef EVOFLASH_DEVICE_ONLY
#ifdef __cplusplus
extern "C" {{
#endif
size_t evoflash_workspace_bytes(const {struct} *problem);
/* 0, EVOFLASH_UNSUPPORTED, or the runtime's error code. */
int evoflash_launch(const {struct} *problem, void *stream);
#ifdef __cplusplus
}}
#endif
#endif

#endif  // EVOFLASH_{guard}_H
"""


def struct_name(name: str) -> str:
    """The struct of a problem, in CamelCase: RmsNorm of rms_norm."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def header_name(name: str) -> str:
    """The header of a problem, as templates include it."""
    return f"{name}.h"


def header(name: str, summary: str, signature: Signature) -> str:
    """The text of the header."""
    groups = itertools.groupby(signature.inputs, lambda each: "read and written" if each.is_updated else "read")
    members = [_tensors(tensors, about) for about, tensors in groups]
    members += [_tensors(signature.outputs, "written")] if signature.outputs else []
    members += [f"  {_type(each)} {each.name};" for each in signature.numbers]
    about = " ".join(summary.split()).replace("*/", "* /") or name
    return TEXT.format(about=about, name=name, guard=name.upper(), struct=struct_name(name), members="\n".join(members))


def _tensors(tensors: Iterable[Tensor], about: str) -> str:
    return f"  EvoflashTensor {', '.join(each.name for each in tensors)}; /* {about} */"


def _type(number: Number) -> str:
    return "double" if isinstance(number.value, float) else "int64_t"
