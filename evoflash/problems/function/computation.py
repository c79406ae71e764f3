"""A file's function or module at some sizes: its inputs, and its answers. Only workers import this."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from evoflash.problems.base import Inputs, Outputs
from evoflash.problems.function import module_state
from evoflash.problems.function.in_double import InDouble, in_double
from evoflash.problems.function.signature import Interface, Parameter, Size
from evoflash.problems.function.source_file import ProblemError

INPUTS = "get_inputs"
EMPTY = torch.empty(0)
ANONYMOUS = "out"  # the name of an output that has none
OF_MIXED_DEVICES = re.compile(r"on the (same|expected) device|device type for generator")  # what PyTorch says of them


@dataclass(frozen=True)
class Arguments:
    """One set of arguments.

    Attributes:
        values: by name, in the order of the parameters.
        state: a module's parameters and buffers, by the names of the struct; their own names are `keys`.
        model: the module, or None.
    """

    values: Mapping[str, Any]
    state: Mapping[str, torch.Tensor]
    keys: tuple[str, ...]
    model: torch.nn.Module | None

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors by name, in the order of the struct."""
        return {name: each for name, each in self.values.items() if isinstance(each, torch.Tensor)} | dict(self.state)


@dataclass(frozen=True)
class Definition:
    """What a file defines.

    Attributes:
        function: the function, or the `forward` of a module.
        parameters: its parameters with their defaults.
        input_sizes: the parameters of `get_inputs` with their defaults.
        names: all names of the file.
        mutates: the tensors that a call updates in place, by the names of the struct.
    """

    file: str
    function: Callable[..., Any]
    parameters: Mapping[str, Any]
    input_sizes: Mapping[str, Any]
    names: Mapping[str, Any]
    is_module: bool
    mutates: tuple[str, ...] = ()


class Computation:
    """What a file computes at some sizes.

    Args:
        names: the file's names where its numbers are those of the sizes.
    """

    def __init__(self, definition: Definition, sizes: Mapping[str, Size], names: Mapping[str, Any]):
        self._definition = definition
        self._sizes = sizes
        self._names = names
        self._shell: Arguments | None = None  # of which only what is no tensor counts
        self._updated: frozenset[int] | None = None
        self._is_of_cpu = False

    # Inputs.

    def arguments(self, seed: int, device: str) -> Arguments:
        """The arguments that `get_inputs` makes under a seed; a module is made under the same.

        Args:
            device: where PyTorch makes tensors by default, which is fast on a GPU; the values depend on it.

        Raises:
            ProblemError: when they do not fit the function.
        """
        file = self._definition.file
        model, made = self._made(seed, device)
        values = self._named(list(made) if isinstance(made, list | tuple) else [made])
        state = {} if model is None else {**dict(model.named_parameters()), **dict(model.named_buffers())}
        keys = tuple(state)
        taken = {_identifier(key): state[key].detach() for key in keys}
        if clash := set(taken) & set(values):
            raise ProblemError(
                f"{file}: a parameter of the module and an argument are both called {clash.pop()}; rename one"
            )
        if self._shell is None:
            shell = {name: EMPTY if isinstance(each, torch.Tensor) else each for name, each in values.items()}
            self._shell = Arguments(shell, {}, keys, model)
        return Arguments(values, taken, keys, model)

    def _named(self, made: Sequence[Any]) -> dict[str, Any]:
        """What `get_inputs` has returned, by the names of the parameters, and their defaults."""
        file, parameters = self._definition.file, self._definition.parameters
        names = list(parameters)
        if len(made) > len(names):
            raise ProblemError(
                f"{file}: {INPUTS} returns {len(made)} values for {len(names)} parameters; return as many"
            )
        values = dict(zip(names, made, strict=False))
        for name in names[len(made) :]:
            if parameters[name] is inspect.Parameter.empty:
                raise ProblemError(f"{file}: {INPUTS} returns nothing for {name}, which has no default; return it, too")
            values[name] = self._sizes.get(name, parameters[name])
        for name, value in values.items():
            if not isinstance(value, torch.Tensor | bool | int | float | str | None):
                kind = type(value).__name__
                raise ProblemError(f"{file}: {name} is a {kind}; arguments are tensors, numbers, text or None")
        return values

    def _made(self, seed: int, device: str) -> tuple[torch.nn.Module | None, Any]:
        """The module, and what `get_inputs` returns.

        A file may say where some of its tensors are, and so mix devices that it would not mix on a CPU. It then has all
        of them there.
        """
        where = "cpu" if self._is_of_cpu else device
        sizes = {name: self._sizes.get(name, value) for name, value in self._definition.input_sizes.items()}
        try:
            with torch.random.fork_rng(devices=[]), torch.device(where):
                torch.manual_seed(seed)
                model = module_state.made(self._names) if self._definition.is_module else None
                return model, self._names[INPUTS](**sizes)
        except RuntimeError as error:
            if where == "cpu" or not OF_MIXED_DEVICES.search(str(error)):
                raise
            self._is_of_cpu = True
            return self._made(seed, device)

    def numbers(self, arguments: Arguments) -> dict[str, Size]:
        """The arguments that are no tensors; of a module also those that it was made with and keeps no tensor of."""
        plain = {name: value for name, value in arguments.values.items() if isinstance(value, bool | int | float | str)}
        if not self._definition.is_module:
            return plain
        given, named = module_state.init_arguments(self._names)
        bound = inspect.signature(self._names[module_state.MODEL]).bind(*given, **named)
        bound.apply_defaults()
        found: dict[str, Size] = {}
        for name, value in bound.arguments.items():
            if isinstance(value, bool | int | float | str):
                found[name] = value
            elif isinstance(value, tuple | list) and all(isinstance(each, bool | int | float) for each in value):
                found |= {f"{name}_{place}": each for place, each in enumerate(value)}
        return {name: value for name, value in found.items() if name not in arguments.tensors} | plain

    def inputs(self, seed: int, device: str) -> list[torch.Tensor]:
        """The tensors under a seed, as `arguments` has them."""
        return list(self.arguments(seed, device).tensors.values())

    # Calls.

    @functools.cached_property
    def function(self) -> Callable[..., Any]:
        """The function of the tensors alone, as the file has it; a module is given its parameters by assignment."""
        arguments = self._fixed()
        names = [name for name, each in arguments.values.items() if isinstance(each, torch.Tensor)]
        others = {name: each for name, each in arguments.values.items() if name not in names}
        model, count = arguments.model, len(names)
        if model is None:
            function = self._definition.function
            return lambda *inputs: function(**dict(zip(names, inputs, strict=True)), **others)
        places = module_state.places(model, arguments.keys)

        def call(*inputs: torch.Tensor) -> Any:
            for owners, tensor in zip(places, inputs[count:], strict=True):
                for owner, name in owners:
                    if owner[name] is not tensor:
                        owner[name] = tensor
            return model(**dict(zip(names, inputs, strict=False)), **others)

        return call

    def call(self, inputs: Inputs) -> Outputs:
        """What the function returns, then what it updates in place; the inputs stay as they are."""
        copies = self._copied(self.kept(inputs))
        with torch.no_grad():
            outputs = self.outputs_of(self.function(*copies))
        return (*outputs, *self._updates_in(copies))

    def call_in_double(self, inputs: Inputs) -> Outputs:
        """The same in float64."""
        doubles = tuple(in_double(each) for each in self._copied(self.kept(inputs)))
        with torch.no_grad(), InDouble():
            outputs = self.outputs_of(self.function(*doubles))
        return tuple(each.double() for each in (*outputs, *self._updates_in(doubles)))

    def run(self, inputs: Inputs) -> Outputs:
        """What the function returns; it updates the inputs themselves."""
        with torch.no_grad():
            return self.outputs_of(self.function(*self.kept(inputs)))

    def kept(self, inputs: Inputs) -> Inputs:
        """The inputs, with copies of the buffers that a module updates, as a normalisation in training does.

        What the file declares is no such buffer.
        """
        if not self._definition.is_module:
            return inputs
        if self._updated is None:
            self._updated = self._updated_by(inputs)
        return tuple(each.clone() if number in self._updated else each for number, each in enumerate(inputs))

    def _updated_by(self, inputs: Inputs) -> frozenset[int]:
        """The numbers of the buffers that one call changes; parameters are not changed by `forward`."""
        arguments = self._fixed()
        assert arguments.model is not None
        buffers = {name for name, _ in arguments.model.named_buffers()}
        first = len(inputs) - len(arguments.keys)
        numbers = [first + place for place, key in enumerate(arguments.keys) if key in buffers]
        declared = self.updates
        copies = [each.clone() if number in (*numbers, *declared) else each for number, each in enumerate(inputs)]
        with torch.no_grad():
            self.function(*copies)
        changed = (number for number in numbers if not torch.equal(copies[number], inputs[number]))
        return frozenset(changed) - frozenset(declared)

    @functools.cached_property
    def updates(self) -> tuple[int, ...]:
        """The numbers of the inputs that a call updates in place, as the file declares."""
        arguments = self._fixed()
        names = [name for name, each in arguments.values.items() if isinstance(each, torch.Tensor)]
        names += [_identifier(key) for key in arguments.keys]
        return tuple(number for number, name in enumerate(names) if name in self._definition.mutates)

    def _copied(self, inputs: Inputs) -> Inputs:
        return tuple(each.clone() if number in self.updates else each for number, each in enumerate(inputs))

    def _updates_in(self, inputs: Inputs) -> Outputs:
        return tuple(inputs[number] for number in self.updates)

    def positional(self, inputs: Inputs) -> list[Any]:
        """All arguments in the order of the parameters, then a module's parameters and buffers."""
        values = self._fixed().values
        given = iter(inputs)
        return [*(next(given) if isinstance(each, torch.Tensor) else each for each in values.values()), *given]

    def _fixed(self) -> Arguments:
        """Arguments of which only what is no tensor counts."""
        return self._shell or self.arguments(0, "cpu")

    # Answers.

    def outputs_of(self, answer: Any) -> Outputs:
        """An answer as a tuple of tensors; None is none, of a function that updates something in place.

        Raises:
            ProblemError: when it is no tensor and no tuple of tensors.
        """
        if answer is None and self._definition.mutates:
            return ()
        tensors: tuple[Any, ...] = tuple(answer) if isinstance(answer, tuple | list) else (answer,)
        if not tensors or not all(isinstance(each, torch.Tensor) for each in tensors):
            kinds = ", ".join(type(each).__name__ for each in tensors) or "nothing"
            raise ProblemError(f"{self._definition.file}: the function returns {kinds}; return a tensor, or several")
        return tensors

    @staticmethod
    def output_names(answer: Any) -> list[str]:
        """The fields of a named tuple; otherwise `out`, or `out0`, `out1` …"""
        if answer is None:
            return []
        if hasattr(answer, "_fields"):
            return list(answer._fields)
        count = len(answer) if isinstance(answer, tuple | list) else 1
        return [ANONYMOUS] if count == 1 else [f"{ANONYMOUS}{number}" for number in range(count)]

    def interface(self, answer: Any) -> Interface:
        """How the function is called, and in what form it has answered."""
        arguments, defaults = self._fixed(), self._definition.parameters
        parameters = [
            Parameter(
                name=name,
                kind=_kind(value),
                is_optional=defaults[name] is not inspect.Parameter.empty,
                default=defaults[name] if isinstance(defaults[name], bool | int | float | str) else None,
            )
            for name, value in arguments.values.items()
        ]
        return Interface(
            parameters=tuple(parameters),
            returns=self._form(answer),
            is_module=self._definition.is_module,
            state=tuple((_identifier(key), key) for key in arguments.keys),
        )

    def _form(self, answer: Any) -> str:
        if answer is None:
            return "none"
        name = type(answer).__name__
        if hasattr(answer, "_fields") and self._definition.names.get(name) is type(answer):
            return name
        return "list" if isinstance(answer, list) else "tuple" if isinstance(answer, tuple) else "tensor"


def _kind(value: Any) -> Literal["tensor", "float", "int", "bool", "text", "none"]:
    if isinstance(value, torch.Tensor):
        return "tensor"
    if isinstance(value, str):
        return "text"
    if value is None:
        return "none"
    return "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "float"


def _identifier(key: str) -> str:
    return re.sub(r"\W", "_", key)
