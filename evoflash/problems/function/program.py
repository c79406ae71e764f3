"""A problem's file as a program: its function or module, and the sizes that may be set. Only workers import this."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

from evoflash.problems.function import source_file
from evoflash.problems.function.computation import INPUTS, Computation, Definition
from evoflash.problems.function.module_state import INIT_INPUTS, MODEL
from evoflash.problems.function.signature import Size, Sizes
from evoflash.problems.function.source_file import ProblemError

KEPT = 32  # computations at other sizes, of which each may hold a module


class Program:
    """A file's function or module.

    Attributes:
        name: the problem's name: the function's, or of a module the file's.
        names: what the file defines.
        is_module: whether it is a class, and not a function.
        sizes: what may be set, with the file's own values: the parameters of `get_inputs` and the function's defaults;
            of a module without parameters of `get_inputs`, the numbers that the file assigns to names at its top, and
            of a tuple of numbers each, as `shape_0`, `shape_1` …
        mutates: the tensors that a call updates in place, by the names of the struct.

    Raises:
        ProblemError: when the file does not run, or defines no problem.
    """

    def __init__(self, file: str, source: str):
        self.file = file
        self._source = source
        self._module = source_file.executed(file, source)
        self.names: Mapping[str, Any] = vars(self._module)
        if not callable(self.names.get(INPUTS)):
            raise ProblemError(f"{file} has no function {INPUTS}; write one that returns the arguments")
        self.is_module = self.names.get(MODEL) is not None
        self.name, function, parameters = self._computed()
        own = self._input_sizes()
        self.mutates = self._mutates()
        self._definition = Definition(file, function, parameters, own, self.names, self.is_module, self.mutates)
        self._constants = source_file.assigned_numbers(source, self.names) if self.is_module and not own else {}
        defaults = {name: value for name, value in parameters.items() if isinstance(value, bool | int | float | str)}
        self.sizes: dict[str, Size] = {**own, **defaults, **self._constants}
        stray = [name for name, value in self.sizes.items() if not isinstance(value, bool | int | float | str)]
        if stray:
            raise ProblemError(f"{file}: {INPUTS}: {stray[0]} is no number or text; make its default one")

    @staticmethod
    @functools.cache
    def of(file: str, source: str) -> Program:
        """The program of a file, executed once in a process."""
        return Program(file, source)

    @functools.lru_cache(maxsize=KEPT)  # noqa: B019 - programs live as long as the process
    def at(self, sizes: Sizes) -> Computation:
        """What it computes at these sizes."""
        given = {name: value for name, value in sizes if name in self._constants}
        is_own = given == {name: self._constants[name] for name in given}
        names = self.names if is_own else vars(source_file.executed(self.file, self._source, given))
        return Computation(self._definition, dict(sizes), names)

    def sizes_of(self, function: Callable[..., Any]) -> list[str]:
        """The sizes that one of the file's functions takes.

        Raises:
            ProblemError: when it takes something else.
        """
        names = list(inspect.signature(function).parameters)
        if stray := [name for name in names if name not in self.sizes]:
            raise ProblemError(f"{self.file}: {function.__name__} takes {stray[0]}; it may take sizes only")
        return names

    def _computed(self) -> tuple[str, Callable[..., Any], dict[str, Any]]:
        """The name, the function, and its parameters with their defaults."""
        stem = re.sub(r"\W", "_", self.file.removesuffix(".py")).strip("_").lower()
        stem = stem if stem[:1].isalpha() else f"problem_{stem}"
        if self.is_module:
            model = self.names[MODEL]
            if not isinstance(model, type) or not issubclass(model, torch.nn.Module):
                raise ProblemError(f"{self.file}: {MODEL} is no torch.nn.Module; make it one, or rename it")
            name, function = stem, model.forward
        else:
            name, function = self._found(stem)
        parameters = list(inspect.signature(function).parameters.values())[1 if self.is_module else 0 :]
        if any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in parameters):
            raise ProblemError(f"{self.file}: {function.__name__} takes *args or **kwargs; name its parameters")
        return name, function, {each.name: each.default for each in parameters}

    def _found(self, stem: str) -> tuple[str, Callable[..., Any]]:
        """The function of the file's name, or the only one."""
        functions = {
            name: each
            for name, each in self.names.items()
            if inspect.isfunction(each) and each.__module__ == self._module.__name__ and not name.startswith("_")
        }
        if stem in functions:
            return stem, functions[stem]
        others = [name for name in functions if name not in (INPUTS, INIT_INPUTS, "flops")]
        if len(others) != 1:
            found = f"has {', '.join(others)}" if others else "has none"
            raise ProblemError(
                f"{self.file} must define one public function, or a class {MODEL}, and {found}; name one {stem}, or "
                "begin the names of the others with an underscore"
            )
        return others[0], functions[others[0]]

    def _mutates(self) -> tuple[str, ...]:
        stated = self.names.get("mutates", ())
        if not isinstance(stated, list | tuple) or not all(isinstance(each, str) for each in stated):
            raise ProblemError(
                f'{self.file}: mutates is {stated!r}; write the names of what is updated in place, such as ("x",)'
            )
        return tuple(stated)

    def _input_sizes(self) -> dict[str, Any]:
        own = inspect.signature(self.names[INPUTS]).parameters.values()
        without = [each.name for each in own if each.default is each.empty]
        if without:
            raise ProblemError(
                f"{self.file}: {INPUTS} needs a default for {without[0]}; it is the size that is searched"
            )
        return {each.name: each.default for each in own}
