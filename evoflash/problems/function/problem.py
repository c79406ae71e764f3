"""A problem that is a PyTorch function in a Python file, or a module as KernelBench's task files have it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from evoflash.core.record import Record
from evoflash.problems import dtypes
from evoflash.problems.base import Baseline, Bounds, Case, Inputs, Output, Outputs, Problem
from evoflash.problems.c_interface import CInterface
from evoflash.problems.function.rivals import Compiled
from evoflash.problems.function.signature import Interface, Signature, Size, Sizes
from evoflash.problems.rival import Rival

if TYPE_CHECKING:
    import torch

    from evoflash.problems.function.computation import Computation

# Operations that each round a result of float32 or float64. What PyTorch adds up in blocks and vectors, a plain loop
# adds up in order, with the error of so many: about the square root of 4,096 terms, over 4.
ROUNDINGS = {"float32": 16, "float64": 16}

FRESH_SIZES = 4  # in `cases`, and in `random_cases`

VALUES = ("large", "tiny", "constant", "infinite", "nan")  # see `adversaries.changed`


class Variant(Record):
    """The same function at other sizes.

    Attributes:
        is_stated: whether the file names it in `cases`; otherwise it was drawn from `vary`.
    """

    sizes: Sizes
    signature: Signature
    flops: int
    is_stated: bool = False

    @property
    def name(self) -> str:
        """The sizes in words."""
        return " ".join(f"{name}={value}" for name, value in self.sizes)


class FunctionProblem(Problem):
    """A function at some sizes, with all that the driver needs to know about it.

    The file's code runs in a worker only, as kernels do. `describe` in the worker fills in what is derived from it.

    Attributes:
        name: the function's; of a module, the file's.
        file: the file's name, for messages.
        source: the file's text, so that a run on record is complete.
        summary: the first line of the file's docstring.
        sizes: what the inputs are made from: the parameters of `get_inputs`, or a module file's integers.
        signature: the tensors and numbers at these sizes.
        interface: how the function is called from Python.
        counted_flops: floating-point operations as PyTorch counts them, or as the file says.
        tolerance: of outputs by name, absolute errors that the file allows instead of the derived bounds.
        layouts: the memory layouts of inputs that are tried: contiguous, strided, unaligned.
        variants: other sizes that kernels are tried on.
    """

    kind: ClassVar[str] = "function"
    plain_baseline: ClassVar[str] = "eager"
    is_overflow_excused: ClassVar[bool] = True

    name: str
    file: str
    source: str
    summary: str = ""
    sizes: Sizes = ()
    signature: Signature
    interface: Interface = Interface()
    counted_flops: int
    tolerance: tuple[tuple[str, float], ...] = ()
    layouts: tuple[str, ...] = ("contiguous", "strided", "unaligned")
    variants: tuple[Variant, ...] = ()

    @property
    def label(self) -> str:
        """The name and the sizes."""
        sizes = dict(self.sizes) or {f"{each.name}": "x".join(map(str, each.shape)) for each in self.signature.inputs}
        return " ".join([self.name, *(f"{name}={value}" for name, value in sizes.items())])

    def facts(self) -> dict[str, Size]:
        """Sizes, numbers and texts by name, and those of the tensors (see `Signature.facts`)."""
        return self.signature.facts() | dict(self.sizes)

    def likeness(self) -> dict[str, Size]:
        """Sizes, texts and types; what the file says beside does not count, as it may have been edited."""
        tensors = (*self.signature.inputs, *self.signature.outputs)
        return {
            **dict(self.signature.texts),
            **{f"{each.name}_dtype": each.dtype for each in tensors},
            **dict(self.sizes),
        }

    @property
    def flops(self) -> int:
        """As counted."""
        return self.counted_flops

    @property
    def min_bytes(self) -> int:
        """The bytes of inputs and outputs; of what is updated in place those that change, read and written."""
        return max(1, sum(each.moved_bytes for each in (*self.signature.inputs, *self.signature.outputs)))

    @property
    def computes(self) -> str:
        """The function's name."""
        return self.name

    @property
    def c_interface(self) -> CInterface:
        """The names of the signature."""
        read, written = ([each.name for each in tensors] for tensors in (self.signature.inputs, self.signature.outputs))
        updated = [each.name for each in self.signature.updated]
        return CInterface.of(self.name, read, written, self._numbers, " ".join(self.summary.split()), updated)

    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the tensors, in the order of the struct."""
        return tuple(each.shape for each in self.signature.inputs)

    def input_dtypes(self) -> tuple[str, ...]:
        """Their types."""
        return tuple(each.dtype for each in self.signature.inputs)

    def index_values(self, seed: int = 0) -> dict[int, tuple[int, ...]]:
        """The first values of integers and booleans, of one seed: what kernels may use as indices."""
        return {number: each.values for number, each in enumerate(self.signature.inputs) if each.values}

    def outputs(self) -> tuple[Output, ...]:
        """What the function returns, then what it updates in place."""
        numbers = {each.name: number for number, each in enumerate(self.signature.inputs)}
        returned = [Output(each.name, each.shape, each.dtype) for each in self.signature.outputs]
        updated = [Output(each.name, each.shape, each.dtype, numbers[each.name]) for each in self.signature.updated]
        return (*returned, *updated)

    # Cases.

    def cases(self) -> tuple[Case, ...]:
        """Adversarial values and layouts at the searched sizes, the sizes that the file states, and some that vary."""
        floating = any(each.is_floating for each in self.signature.inputs)
        variants = [*(VALUES if floating else ()), *(each for each in self.layouts if each != "contiguous")]
        own = [Case(name=each, problem=self.alone, seed=seed, variant=each) for seed, each in enumerate(variants)]
        stated, drawn = [each for each in self.variants if each.is_stated], self._drawn()
        others = [
            *stated,
            *(each for each in drawn[1:FRESH_SIZES] if each.name not in {known.name for known in stated}),
        ]
        own += [Case(name=each.name, problem=self.at(each), seed=seed) for seed, each in enumerate(others)]
        return (*own, *([self.general_case] if drawn and self.general_case else []))

    @property
    def alone(self) -> FunctionProblem:
        """The same without other sizes."""
        return self.model_copy(update={"variants": ()})

    def at(self, variant: Variant) -> FunctionProblem:
        """The same function at other sizes."""
        changes = {
            "sizes": variant.sizes,
            "signature": variant.signature,
            "counted_flops": variant.flops,
            "variants": (),
        }
        return self.model_copy(update=changes)

    @property
    def general_case(self) -> Case | None:
        """Constant values, where sums drift, at the first of the sizes that were drawn, or else the searched ones."""
        drawn = self._drawn()
        if not any(each.is_floating for each in self.signature.inputs):
            return Case(name=drawn[0].name, problem=self.at(drawn[0]), seed=1) if drawn else None
        if not drawn:
            return Case(name="constant", problem=self.alone, seed=1, variant="constant")
        return Case(name=f"constant {drawn[0].name}", problem=self.at(drawn[0]), seed=1, variant="constant")

    def random_cases(self, seed: int) -> tuple[Case, ...]:
        """The searched sizes with fresh values, and some of the sizes that were drawn."""
        rng = random.Random(seed)
        drawn = self._drawn()
        chosen = rng.sample(drawn, min(FRESH_SIZES, len(drawn)))
        fresh = [Case(name=f"fresh {each.name}", problem=self.at(each), seed=seed) for each in chosen]
        return (Case(name=f"fresh seed {seed}", problem=self.alone, seed=seed), *fresh)

    def _drawn(self) -> list[Variant]:
        return [each for each in self.variants if not each.is_stated]

    # What needs the function itself, and PyTorch.

    @property
    def computation(self) -> Computation:
        """The file, executed, at these sizes. Only workers may ask for it."""
        from evoflash.problems.function.program import Program

        return Program.of(self.file, self.source).at(self.sizes)

    def inputs(self, seed: int, variant: str, device: str) -> Inputs:
        """What `get_inputs` returns under a seed, and a module's parameters, changed according to the variant.

        They are drawn on the device, so other devices have other values.
        """
        from evoflash.problems.function import adversaries

        tensors = self.computation.inputs(seed, device)
        return tuple(adversaries.placed(each, variant, device) for each in adversaries.changed(tensors, variant))

    def reference(self, inputs: Inputs) -> Outputs:
        """The function in float64: what it casts to a smaller floating-point type stays float64, too."""
        return self.computation.call_in_double(inputs)

    def plain(self, inputs: Inputs) -> Outputs:
        """The function as it is."""
        return self.computation.call(inputs)

    def unspecified(self, inputs: Inputs) -> tuple[torch.Tensor | None, ...]:
        """Where the reference is not finite, if an input is not."""
        if all(bool(each.double().isfinite().all().item()) for each in inputs if each.is_floating_point()):
            return (None,) * len(self.signature.results)
        return tuple(~each.isfinite() for each in self.reference(inputs))

    def bounds(self, output: Output, reference: torch.Tensor, plain_max: float, plain_rms: float) -> Bounds:
        """rms <= 2 * the function's own, max <= 3 * its own + the output type's rounding; or the file's tolerance.

        The function's own error counts as at least the rms of rounding its output, of float32 `ROUNDINGS` times.
        Integers and booleans must be as near as the function's own are.
        """
        allowed = dict(self.tolerance).get(output.name)
        if allowed is not None:
            return Bounds(allowed, allowed, allowed)
        if output.dtype not in dtypes.UNIT_ROUNDOFF:
            return Bounds(3 * plain_max, 2 * plain_rms, math.inf)
        import torch

        finite = reference[reference.isfinite()]
        largest = finite.abs().max().item() if finite.numel() else 0.0
        rms = finite.square().mean().sqrt().item() if finite.numel() else 0.0
        rounding = ROUNDINGS.get(output.dtype, 1) * dtypes.UNIT_ROUNDOFF[output.dtype]
        smallest = torch.finfo(getattr(torch, output.dtype)).tiny if output.dtype in ROUNDINGS else 2.0**-126
        return Bounds(
            max_error=3 * plain_max + rounding * largest + smallest,
            rms_error=2 * max(plain_rms, rounding * rms / math.sqrt(3)) + smallest,
            mean_error=math.inf,
        )

    def baselines(self, target: str) -> Mapping[str, Baseline]:
        """`eager`, the function as it is."""
        computation = self.computation
        return {self.plain_baseline: lambda *inputs: computation.run(inputs)}

    def rivals(self, target: str) -> tuple[Rival, ...]:
        """`compile`, the function by `torch.compile`."""
        return (Compiled(),)

    def named(self, inputs: Inputs, outputs: Outputs) -> Mapping[str, torch.Tensor | bool | int | float]:
        """Inputs, outputs and numbers, as in the struct of the header: what is updated in place is there once."""
        returned = outputs[: len(self.signature.outputs)]
        return self.c_interface.named((*inputs, *returned), self._numbers)

    @property
    def _numbers(self) -> dict[str, bool | int | float]:
        return {each.name: each.value for each in self.signature.numbers}

    def call_of(self, function: Callable[..., Any], inputs: Inputs) -> Callable[[], Any]:
        """A call with the arguments in the order of the parameters; then a module's parameters and buffers.

        The function updates what the problem's does, and returns the rest.
        """
        values = self.computation.positional(inputs)
        return lambda: function(*values)
