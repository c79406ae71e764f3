"""A module of a problem's file: how it is made, and where it holds its parameters and buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

MODEL = "Model"  # the class
INIT_INPUTS = "get_init_inputs"


def made(names: Mapping[str, Any]) -> torch.nn.Module:
    """The module of a file with these names."""
    given, named = init_arguments(names)
    return names[MODEL](*given, **named)


def init_arguments(names: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """What a module is made with: positional arguments and keywords."""
    made = names[INIT_INPUTS]() if INIT_INPUTS in names else []
    return ((), made) if isinstance(made, Mapping) else (made, {})


def places(model: torch.nn.Module, keys: Sequence[str]) -> list[list[tuple[dict[str, Any], str]]]:
    """Of each parameter and buffer where modules hold it; what is tied is held by several."""
    held: dict[int, list[tuple[dict[str, Any], str]]] = {}
    for module in model.modules():
        for owner in (module._parameters, module._buffers):
            for name, tensor in owner.items():
                held.setdefault(id(tensor), []).append((owner, name))
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return [held[id(tensors[key])] for key in keys]
