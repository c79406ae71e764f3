"""A problem's file, executed: how its inputs are made, and its function. Only workers import this."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import linecache
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from evoflash.problems.base import Inputs, Outputs
from evoflash.problems.function.in_double import InDouble, in_double
from evoflash.problems.function.signature import Interface, Parameter, Size, Sizes

MODEL = "Model"  # the class of a module file
INPUTS = "get_inputs"
INIT_INPUTS = "get_init_inputs"
EMPTY = torch.empty(0)
ANONYMOUS = "out"  # the name of an output that has none
NO_SIZES: Mapping[str, Size] = types.MappingProxyType({})


class ProblemError(Exception):
    """A problem's file cannot be used; the message says why, and what to do."""


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


class Program:
    """A file's function or module.

    Attributes:
        name: the problem's name: the function's, or of a module the file's.
        sizes: what may be set, with the file's own values: the parameters of `get_inputs` and the function's defaults;
            of a module without parameters of `get_inputs`, the numbers that the file assigns to names at its top, and
            of a tuple of numbers each, as `shape_0`, `shape_1` …

    Raises:
        ProblemError: when the file does not run, or defines no problem.
    """

    def __init__(self, file: str, source: str):
        self.file = file
        self._source = source
        self._module = _executed(file, source)
        stem = re.sub(r"\W", "_", file.removesuffix(".py")).strip("_").lower()
        stem = stem if stem[:1].isalpha() else f"problem_{stem}"
        self.names = vars(self._module)
        self._model = self.names.get(MODEL)
        if not callable(self.names.get(INPUTS)):
            raise ProblemError(f"{file} has no function {INPUTS}; write one that returns the arguments")
        if self._model is not None:
            if not isinstance(self._model, type) or not issubclass(self._model, torch.nn.Module):
                raise ProblemError(f"{file}: {MODEL} is no torch.nn.Module; make it one, or rename it")
            self.name, self._function = stem, self._model.forward
            parameters = list(inspect.signature(self._function).parameters.values())[1:]
        else:
            self.name, self._function = self._find(stem)
            parameters = list(inspect.signature(self._function).parameters.values())
        if any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in parameters):
            raise ProblemError(f"{file}: {self._function.__name__} takes *args or **kwargs; name its parameters")
        self._parameters = {each.name: each.default for each in parameters}
        own = inspect.signature(self.names[INPUTS]).parameters.values()
        without = [each.name for each in own if each.default is each.empty]
        if without:
            raise ProblemError(f"{file}: {INPUTS} needs a default for {without[0]}; it is the size that is searched")
        self._input_sizes = {each.name: each.default for each in own}
        self.sizes: dict[str, Size] = {**self._input_sizes, **self._defaults()}
        self._constants: dict[str, Size] = {}
        if self._model is not None and not self._input_sizes:
            self._constants = _constants(source, self.names)
            self.sizes |= self._constants
        self._updated: dict[Sizes, frozenset[int]] = {}
        self._shells: dict[Sizes, Arguments] = {}  # without their tensors
        self._is_of_cpu = False
        stray = [name for name, value in self.sizes.items() if not isinstance(value, bool | int | float | str)]
        if stray:
            raise ProblemError(f"{file}: {INPUTS}: {stray[0]} is no number or text; make its default one")

    @staticmethod
    @functools.cache
    def of(file: str, source: str) -> Program:
        """The program of a file, executed once in a process."""
        return Program(file, source)

    def _find(self, stem: str) -> tuple[str, Callable[..., Any]]:
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

    def _defaults(self) -> dict[str, Size]:
        """The function's own defaults of plain values, which a shape may set, too."""
        return {name: value for name, value in self._parameters.items() if isinstance(value, bool | int | float | str)}

    @property
    def is_module(self) -> bool:
        """Whether it is a class, and not a function."""
        return self._model is not None

    def parameters_of(self, function: Callable[..., Any]) -> list[str]:
        """The sizes that one of the file's functions takes.

        Raises:
            ProblemError: when it takes something else.
        """
        names = list(inspect.signature(function).parameters)
        if stray := [name for name in names if name not in self.sizes]:
            raise ProblemError(f"{self.file}: {function.__name__} takes {stray[0]}; it may take sizes only")
        return names

    # Calls.

    def arguments(self, sizes: Sizes, seed: int, device: str) -> Arguments:
        """The arguments that `get_inputs` makes under a seed; a module is made under the same.

        Args:
            device: where PyTorch makes tensors by default, which is fast on a GPU; the values depend on it.

        Raises:
            ProblemError: when they do not fit the function.
        """
        given, names = dict(sizes), self._names_at(sizes)
        model, made = self._made(given, names, seed, device)
        made = list(made) if isinstance(made, list | tuple) else [made]
        names = list(self._parameters)
        if len(made) > len(names):
            raise ProblemError(
                f"{self.file}: {INPUTS} returns {len(made)} values for {len(names)} parameters; return as many"
            )
        values = dict(zip(names, made, strict=False))
        for name in names[len(made) :]:
            if self._parameters[name] is inspect.Parameter.empty:
                raise ProblemError(
                    f"{self.file}: {INPUTS} returns nothing for {name}, which has no default; return it, too"
                )
            values[name] = given.get(name, self._parameters[name])
        for name, value in values.items():
            if not isinstance(value, torch.Tensor | bool | int | float | str | None):
                kind = type(value).__name__
                raise ProblemError(f"{self.file}: {name} is a {kind}; arguments are tensors, numbers, text or None")
        state = {} if model is None else {**dict(model.named_parameters()), **dict(model.named_buffers())}
        keys = tuple(state)
        taken = {_identifier(key): state[key].detach() for key in keys}
        if clash := set(taken) & set(values):
            raise ProblemError(
                f"{self.file}: a parameter of the module and an argument are both called {clash.pop()}; rename one"
            )
        if sizes not in self._shells:
            shell = {name: EMPTY if isinstance(each, torch.Tensor) else each for name, each in values.items()}
            self._shells[sizes] = Arguments(shell, {}, keys, model)
        return Arguments({**values}, taken, keys, model)

    def _made(self, given: Mapping[str, Size], names: Mapping[str, Any], seed: int, device: str) -> tuple[Any, Any]:
        """The module, and what `get_inputs` returns.

        A file may say where some of its tensors are, and so mix devices that it would not mix on a CPU. It then has all
        of them there.
        """
        where = "cpu" if self._is_of_cpu else device
        sizes = {name: given.get(name, value) for name, value in self._input_sizes.items()}
        try:
            with torch.random.fork_rng(devices=[]), torch.device(where):
                torch.manual_seed(seed)
                return _made_model(names) if self.is_module else None, names[INPUTS](**sizes)
        except RuntimeError as error:
            if where == "cpu" or "device" not in str(error):
                raise
            self._is_of_cpu = True
            return self._made(given, names, seed, device)

    def numbers(self, sizes: Sizes, arguments: Arguments) -> dict[str, Size]:
        """The arguments that are no tensors; of a module also those that it was made with and keeps no tensor of."""
        plain = {name: value for name, value in arguments.values.items() if isinstance(value, bool | int | float | str)}
        if self._model is None:
            return plain
        given, named = _init_arguments(self._names_at(sizes))
        bound = inspect.signature(self._model).bind(*given, **named)
        bound.apply_defaults()
        found: dict[str, Size] = {}
        for name, value in bound.arguments.items():
            if isinstance(value, bool | int | float | str):
                found[name] = value
            elif isinstance(value, tuple | list) and all(isinstance(each, bool | int | float) for each in value):
                found |= {f"{name}_{place}": each for place, each in enumerate(value)}
        return {name: value for name, value in found.items() if name not in arguments.tensors} | plain

    def inputs(self, sizes: Sizes, seed: int, device: str) -> list[torch.Tensor]:
        """The tensors under a seed, as `arguments` has them."""
        return list(self.arguments(sizes, seed, device).tensors.values())

    @functools.lru_cache(maxsize=8)  # noqa: B019 - programs live as long as the process
    def function(self, sizes: Sizes) -> Callable[..., Any]:
        """The function of the tensors alone, as the file has it; a module is given its parameters by assignment."""
        arguments = self._fixed(sizes)
        names = [name for name, each in arguments.values.items() if isinstance(each, torch.Tensor)]
        others = {name: each for name, each in arguments.values.items() if name not in names}
        model, count = arguments.model, len(names)
        if model is None:
            function = self._function
            return lambda *inputs: function(**dict(zip(names, inputs, strict=True)), **others)
        places = _places(model, arguments.keys)

        def call(*inputs: torch.Tensor) -> Any:
            for owners, tensor in zip(places, inputs[count:], strict=True):
                for owner, name in owners:
                    if owner[name] is not tensor:
                        owner[name] = tensor
            return model(**dict(zip(names, inputs, strict=False)), **others)

        return call

    def positional(self, sizes: Sizes, inputs: Inputs) -> list[Any]:
        """All arguments in the order of the parameters, then a module's parameters and buffers."""
        values = self._fixed(sizes).values
        given = iter(inputs)
        return [*(next(given) if isinstance(each, torch.Tensor) else each for each in values.values()), *given]

    def interface(self, sizes: Sizes, answer: Any) -> Interface:
        """How the function is called, and in what form it has answered."""
        arguments = self._fixed(sizes)
        parameters = [
            Parameter(
                name=name,
                kind=_kind(value),
                is_optional=self._parameters[name] is not inspect.Parameter.empty,
                default=self._parameters[name]
                if isinstance(self._parameters[name], bool | int | float | str)
                else None,
            )
            for name, value in arguments.values.items()
        ]
        return Interface(
            parameters=tuple(parameters),
            returns=self._form(answer),
            is_module=self.is_module,
            state=tuple((_identifier(key), key) for key in arguments.keys),
        )

    def _form(self, answer: Any) -> str:
        name = type(answer).__name__
        if hasattr(answer, "_fields") and self.names.get(name) is type(answer):
            return name
        return "list" if isinstance(answer, list) else "tuple" if isinstance(answer, tuple) else "tensor"

    def call(self, sizes: Sizes, inputs: Inputs) -> Outputs:
        """The outputs of the function."""
        with torch.no_grad():
            return self.outputs_of(self.function(sizes)(*self.kept(sizes, inputs)))

    def call_in_double(self, sizes: Sizes, inputs: Inputs) -> Outputs:
        """The outputs in float64."""
        doubles = tuple(in_double(each) for each in self.kept(sizes, inputs))
        with torch.no_grad(), InDouble():
            outputs = self.outputs_of(self.function(sizes)(*doubles))
        return tuple(each.double() for each in outputs)

    def outputs_of(self, answer: Any) -> Outputs:
        """An answer as a tuple of tensors.

        Raises:
            ProblemError: when it is no tensor and no tuple of tensors.
        """
        tensors = tuple(answer) if isinstance(answer, tuple | list) else (answer,)
        if not tensors or not all(isinstance(each, torch.Tensor) for each in tensors):
            raise ProblemError(f"{self.file}: the function returns {_kinds(tensors)}; return a tensor, or several")
        return tensors

    def output_names(self, answer: Any) -> list[str]:
        """The fields of a named tuple; otherwise `out`, or `out0`, `out1` …"""
        if hasattr(answer, "_fields"):
            return list(answer._fields)
        count = len(answer) if isinstance(answer, tuple | list) else 1
        return [ANONYMOUS] if count == 1 else [f"{ANONYMOUS}{number}" for number in range(count)]

    def kept(self, sizes: Sizes, inputs: Inputs) -> Inputs:
        """The inputs, with copies of the buffers that a module updates, as a normalisation in training does."""
        if not self.is_module:
            return inputs
        if sizes not in self._updated:
            self._updated[sizes] = self._updated_by(sizes, inputs)
        return tuple(each.clone() if number in self._updated[sizes] else each for number, each in enumerate(inputs))

    def _updated_by(self, sizes: Sizes, inputs: Inputs) -> frozenset[int]:
        """The numbers of the buffers that one call changes; parameters are not changed by `forward`."""
        arguments = self._fixed(sizes)
        assert arguments.model is not None
        buffers = {name for name, _ in arguments.model.named_buffers()}
        first = len(inputs) - len(arguments.keys)
        numbers = [first + place for place, key in enumerate(arguments.keys) if key in buffers]
        copies = [each.clone() if number in numbers else each for number, each in enumerate(inputs)]
        with torch.no_grad():
            self.function(sizes)(*copies)
        return frozenset(number for number in numbers if not torch.equal(copies[number], inputs[number]))

    def _fixed(self, sizes: Sizes) -> Arguments:
        """Arguments of which only what is no tensor counts."""
        if sizes not in self._shells:
            self.arguments(sizes, 0, "cpu")
        return self._shells[sizes]

    @functools.lru_cache(maxsize=8)  # noqa: B019 - programs live as long as the process
    def _names_at(self, sizes: Sizes) -> Mapping[str, Any]:
        """The file's names where its numbers are as given, with whatever it computes from them."""
        given = {name: value for name, value in sizes if name in self._constants}
        if given == {name: self._constants[name] for name in given}:
            return self.names
        return vars(_executed(self.file, self._source, given))


def _places(model: torch.nn.Module, keys: Sequence[str]) -> list[list[tuple[dict[str, Any], str]]]:
    """Of each parameter and buffer where modules hold it; what is tied is held by several."""
    held: dict[int, list[tuple[dict[str, Any], str]]] = {}
    for module in model.modules():
        for owner in (module._parameters, module._buffers):
            for name, tensor in owner.items():
                held.setdefault(id(tensor), []).append((owner, name))
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return [held[id(tensors[key])] for key in keys]


def _made_model(names: Mapping[str, Any]) -> torch.nn.Module:
    given, named = _init_arguments(names)
    return names[MODEL](*given, **named)


def _init_arguments(names: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """What a module is made with: positional arguments and keywords."""
    made = names[INIT_INPUTS]() if INIT_INPUTS in names else []
    return ((), made) if isinstance(made, Mapping) else (made, {})


def _constants(source: str, names: Mapping[str, Any]) -> dict[str, Size]:
    """The numbers that a file assigns at its top without reading other names; those that it computes follow them."""
    found: dict[str, Size] = {}
    for statement in ast.parse(source).body:
        for name in _assigned(statement):
            value = names.get(name)
            if isinstance(value, bool | int | float):
                found[name] = value
            elif isinstance(value, tuple) and all(isinstance(each, bool | int | float) for each in value):
                found |= {f"{name}_{place}": each for place, each in enumerate(value)}
    return found


def _assigned(statement: ast.stmt) -> list[str]:
    """The names that a statement assigns a value without names and calls in it: `h = w = 2 * 64`, or `h, w = 8, 16`."""
    if isinstance(statement, ast.Assign):
        targets, value = statement.targets, statement.value
    elif isinstance(statement, ast.AnnAssign):
        targets, value = [statement.target], statement.value
    else:
        return []
    if value is None or any(isinstance(each, ast.Name | ast.Call | ast.Attribute) for each in ast.walk(value)):
        return []
    flat = [each for target in targets for each in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return [each.id for each in flat if isinstance(each, ast.Name) and not each.id.startswith("_")]


def _with_constants(source: str, file: str, given: Mapping[str, Size]) -> ast.Module:
    """The file, in which each name of `_constants` is assigned once more, right after its own statement."""
    tree = ast.parse(source, file)
    names = {name for statement in tree.body for name in _assigned(statement)}
    body: list[ast.stmt] = []
    for statement in tree.body:
        body.append(statement)
        for name in _assigned(statement):
            added = [f"{name} = {given[name]!r}"] if name in given else []
            for element in (each for each in given if each not in names and re.fullmatch(rf"{name}_\d+", each)):
                place = int(element.removeprefix(f"{name}_"))
                added.append(f"{name} = (*{name}[:{place}], {given[element]!r}, *{name}[{place + 1}:])")
            for line in added:
                body += [ast.copy_location(each, statement) for each in ast.parse(line).body]
    return ast.fix_missing_locations(ast.Module(body, tree.type_ignores))


def _executed(file: str, source: str, given: Mapping[str, Size] = NO_SIZES) -> types.ModuleType:
    """The file's module; `given` are numbers that it has in place of its own."""
    digest = hashlib.sha256(f"{source}{sorted(given.items())}".encode()).hexdigest()[:16]
    module = types.ModuleType(f"evoflash_problem_{digest}")
    module.__file__ = file
    # So that tracebacks, `inspect` and torch.compile find the lines.
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    sys.modules[module.__name__] = module
    exec(compile(_with_constants(source, file, given), file, "exec", dont_inherit=True), vars(module))
    return module


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


def _kinds(values: Sequence[Any]) -> str:
    return ", ".join(type(each).__name__ for each in values) or "nothing"
