"""What recorded spaces tell of a family's values, before a search has a result of its own.

A prior is an additive model of the logarithm of the time: each value of each parameter has an effect, and a genome is
expected to take as much longer or shorter as the effects of its values add up to. It lies beside the search space, in
search_spaces/priors/<family>.yaml, and `replay.priors` fits it to recorded spaces.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from evoflash import resources
from evoflash.core.genome import Gene
from evoflash.errors import SpaceError, unknown
from evoflash.space.parameter import Name, Parameter, Value


class Prior(BaseModel):
    """The effects of a family's values.

    Attributes:
        recorded: the recorded spaces that it was fitted to, for readers.
        effects: by parameter and value, in powers of two of the time: 1 means twice as long as the mean over the
            recorded genomes. Values without one have the effect 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recorded: tuple[str, ...]
    effects: dict[Name, dict[Value, FiniteFloat]]

    def of(self, parameter: str, value: Gene) -> float:
        """The effect of a value."""
        return self.effects.get(parameter, {}).get(value, 0.0)

    def expected(self, genome: Mapping[str, Gene]) -> float:
        """The sum of the effects of a genome's values."""
        return sum(self.of(name, value) for name, value in genome.items())


def path_of(space: Path) -> Path:
    """Where the prior of a search space is, given the file of the space."""
    return space.parent / "priors" / space.name


def read(space: Path, parameters: Mapping[str, Parameter]) -> Prior | None:
    """Reads the prior that lies beside a search space; None where there is none.

    Args:
        space: the file of the space.
        parameters: its parameters.

    Raises:
        SpaceError: for a file that is no prior, or a parameter that the space does not have; names the file.
    """
    path = path_of(space)
    if not path.exists():
        return None
    try:
        prior = Prior.model_validate(resources.read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SpaceError(f"{path}: {where}: {first['msg']}; fix or delete the file") from None
    for name in prior.effects:
        if name not in parameters:
            raise SpaceError(f"{path}: {unknown('parameter', name, parameters)}; fit it again or delete the file")
    return prior
