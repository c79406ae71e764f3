"""Settings: the command line goes before `EVOFLASH_*`, that before evoflash.yaml, that before the defaults."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from evoflash import resources
from evoflash.errors import UsageError, unknown


class Settings(BaseSettings):
    """What holds for every command.

    Attributes:
        db: the database, an SQLAlchemy URL or the path of an SQLite file.
        cache: the folder of the build cache.
        templates: folders that hold the user's own templates/, search_spaces/ and configs/.
        target: "cuda", "cpu", or "auto": a CUDA device with a compiler if there is one, else the CPU.
        arch: CUDA architecture to build for, e.g. "sm_90a"; default: the device's own. Also read from CUDA_ARCH.
        debug: build with debug information and line numbers, keeping the optimiser on. Also read from DEBUG.
        verbose: print each compiler command and its output on standard error.
        jobs: builds at once; default: the cores that this process may use.
        build_deadline_s, evaluate_deadline_s: seconds after which a build, or one candidate's evaluation, is killed.
    """

    model_config = SettingsConfigDict(env_prefix="EVOFLASH_", extra="forbid", frozen=True, populate_by_name=True)

    db: str = "runs/evoflash.db"
    cache: Path = Path("runs/builds")
    templates: Annotated[tuple[Path, ...], NoDecode] = ()
    target: str = "auto"
    arch: str | None = Field(None, validation_alias=AliasChoices("EVOFLASH_ARCH", "CUDA_ARCH"))
    debug: bool = Field(False, validation_alias=AliasChoices("EVOFLASH_DEBUG", "DEBUG"))
    verbose: bool = False
    jobs: int | None = Field(None, ge=1)
    build_deadline_s: float = Field(60.0, gt=0)
    evaluate_deadline_s: float = Field(30.0, gt=0)

    @field_validator("templates", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return value.split(os.pathsep) if isinstance(value, str) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line, environment, evoflash.yaml."""
        path = Path("evoflash.yaml")
        content = resources.read_yaml(path) if path.is_file() else {}
        return (
            init_settings,
            env_settings,
            InitSettingsSource(settings_cls, init_kwargs={str(key): value for key, value in content.items()}),
        )


def load(**command_line: Any) -> Settings:
    """The settings in force; a command-line value of None means "not given".

    Raises:
        UsageError: for a value that does not fit, or a key that does not exist.
    """
    _refuse_stray_variables()
    try:
        return Settings(**{key: value for key, value in command_line.items() if value is not None})
    except ValidationError as error:
        raise UsageError(f"setting {_first(error)}") from None


def _refuse_stray_variables() -> None:
    known = {f"EVOFLASH_{name.upper()}" for name in Settings.model_fields}
    for name in os.environ:
        if name.startswith("EVOFLASH_") and name not in known and difflib.get_close_matches(name, known, 1, 0.8):
            raise unknown("environment variable", name, known)


class Effort(BaseModel):
    """How much a search spends; configs/effort.yaml holds the presets.

    Attributes:
        budget: candidates at most; minutes: wall time at most.
        finalists: how many of the best enter the finals; rounds: interleaved rounds there.
        samples: timing samples of a full timing, fewer of a kernel of milliseconds; quick_samples: of the quick one
            before it.
        window: proposals in flight at most, as a multiple of the builds at once.
        patience_percent: a search ends when its next candidates are expected to gain less (`patience`); None spends the
            budget.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget: int = Field(gt=0)
    minutes: float = Field(gt=0)
    finalists: int = Field(5, gt=0)
    rounds: int = Field(40, gt=1)
    samples: int = Field(100, gt=1)
    quick_samples: int = Field(10, gt=0)
    window: int = Field(4, gt=0)
    patience_percent: float | None = Field(None, gt=0)


def effort(name: str, target: str, folders: Sequence[Path] = (), **overrides: Any) -> Effort:
    """A preset of configs/effort.yaml for a target, with what the command line overrides.

    Raises:
        NotFoundError: for a preset that does not exist.
        UsageError: for a value that does not fit, such as a budget of 0.
    """
    presets = resources.config("effort", folders)
    if name not in presets:
        raise unknown("effort", name, presets)
    values = {**presets[name].get("common", {}), **presets[name].get(target, {})}
    try:
        return Effort(**{**values, **{key: value for key, value in overrides.items() if value is not None}})
    except ValidationError as error:
        raise UsageError(f"effort {name!r}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{where!r} does not exist; remove it or see `evoflash --help` for those that do"
    return f"{where}: {first['msg']} (given: {first['input']!r})"
