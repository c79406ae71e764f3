"""Settings. Precedence: the command line, environment variables `EVOFLASH_*`, evoflash.yaml, the defaults."""

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

FILE = Path("evoflash.yaml")


class Settings(BaseSettings):
    """Settings that every command shares.

    Attributes:
        db: the database: an SQLAlchemy URL, or the path of an SQLite file.
        cache: the folder of the build cache.
        templates: folders with the user's own templates/, search_spaces/ and configs/.
        target: "cuda", "cpu", or "auto", which picks a CUDA device that has a compiler, otherwise the CPU.
        arch: CUDA architecture to build for, e.g. "sm_90a"; default: the device's. Also read from CUDA_ARCH.
        debug: build with debug information and line numbers, with optimisation still on. Also read from DEBUG.
        verbose: print each compiler command and its output to standard error.
        jobs: parallel builds; default: the number of cores available to this process.
        calls: after a search, time calls of its export from Python.
        report: after a search, write its HTML report; without the extra `report` a line says how to get it.
        scheduler: whose devices are searched on, if not this machine's: dask://HOST:PORT, "slurm" or "local".
        tls_ca_file, tls_cert, tls_key: the certificates of the cluster, in PEM format.
        build_deadline_s, evaluate_deadline_s: seconds after which a build, or the evaluation of a candidate, is killed.
    """

    model_config = SettingsConfigDict(env_prefix="EVOFLASH_", extra="forbid", frozen=True, populate_by_name=True)

    db: str = "runs/evoflash.db"
    cache: Path = Path("runs/builds")
    templates: Annotated[tuple[Path, ...], NoDecode] = ()
    target: str = "auto"
    arch: str | None = Field(None, validation_alias=AliasChoices("EVOFLASH_ARCH", "CUDA_ARCH"))
    debug: bool = Field(False, validation_alias=AliasChoices("EVOFLASH_DEBUG", "DEBUG"))
    verbose: bool = False
    calls: bool = True
    report: bool = True
    jobs: int | None = Field(None, ge=1)
    scheduler: str | None = None
    tls_ca_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
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
        """Sources in order of precedence: command line, environment, evoflash.yaml."""
        return (
            init_settings,
            env_settings,
            InitSettingsSource(settings_cls, init_kwargs=_own_file()),
        )


def load(**command_line: Any) -> Settings:
    """Loads the settings; a command-line value of None means that the option was not given.

    Raises:
        UsageError: for an invalid value or an unknown key.
    """
    _refuse_stray_variables()
    given = {key: value for key, value in command_line.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        name = _field(str(error.errors()[0]["loc"][0]))
        elsewhere = name in given or any(variable in os.environ for variable in _variables(name))
        where = f"{FILE}: " if name in _own_file() and not elsewhere else ""
        raise UsageError(f"{where}setting {_first(error)}") from None


def _variables(name: str) -> list[str]:
    """The environment variables of a setting; none for a name that is no setting."""
    field = Settings.model_fields.get(name)
    alias = field.validation_alias if field is not None else None
    names = alias.choices if isinstance(alias, AliasChoices) else [f"EVOFLASH_{name.upper()}"]
    return [str(each) for each in names] if field is not None else []


def _field(part: str) -> str:
    """The setting that a variable sets; other words as they are."""
    return next((name for name in Settings.model_fields if part in _variables(name)), part)


def _own_file() -> dict[str, Any]:
    """The settings in evoflash.yaml."""
    content = resources.read_yaml(FILE) if FILE.is_file() else {}
    return {str(key): value for key, value in content.items()}


def _refuse_stray_variables() -> None:
    known = {f"EVOFLASH_{name.upper()}" for name in Settings.model_fields}
    for name in os.environ:
        if name.startswith("EVOFLASH_") and name not in known and difflib.get_close_matches(name, known, 1, 0.8):
            raise unknown("environment variable", name, known)


class Effort(BaseModel):
    """How much a search spends; the presets are in configs/effort.yaml.

    Attributes:
        budget: maximum number of candidates.
        minutes: maximum wall time of the search, all shapes together; baselines, finals and export are not counted.
        finalists: how many of the fastest candidates enter the finals.
        rounds: interleaved rounds of the finals.
        spare_s: seconds for each of these rounds, in which the finals go on where the rounds do not tell kernels apart.
        samples: samples of a full timing; fewer for kernels that take milliseconds.
        quick_samples: samples of the quick timing before it.
        window: maximum number of proposals in flight, as a multiple of the parallel builds.
        patience_percent: early stopping: the search ends when the next candidates are expected to improve the best time
            by less than this (see `run.stopping`); None: only the budget ends it.
        give_up: whether the timing of a candidate ends after the quick samples when it is far slower than the best.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget: int = Field(gt=0)
    minutes: float = Field(gt=0)
    finalists: int = Field(5, gt=0)
    rounds: int = Field(40, gt=1)
    spare_s: float = Field(0.5, ge=0)
    samples: int = Field(100, gt=1)
    quick_samples: int = Field(10, gt=0)
    window: int = Field(4, gt=0)
    patience_percent: float | None = Field(None, gt=0)
    give_up: bool = True


def effort(name: str, target: str, folders: Sequence[Path] = (), **overrides: Any) -> Effort:
    """A preset from configs/effort.yaml for a target, with overrides from the command line.

    Raises:
        NotFoundError: for a preset that does not exist.
        UsageError: for an invalid value, such as a budget of 0, or a preset that is no mapping.
    """
    presets = resources.config("effort", folders)
    if name not in presets:
        raise unknown("effort", name, presets)
    given = {key: value for key, value in overrides.items() if value is not None}
    preset = presets[name]
    parts = [preset.get("common", {}), preset.get(target, {})] if isinstance(preset, dict) else [preset]
    if not all(isinstance(each, dict) for each in parts):
        raise UsageError(f"effort {name!r} of configs/effort.yaml must be mappings of settings by target; fix the file")
    values = {str(key): value for each in parts for key, value in each.items()}
    try:
        return Effort.model_validate({**values, **given})
    except ValidationError as error:
        where = "" if error.errors()[0]["loc"][0] in given else " of configs/effort.yaml"
        raise UsageError(f"effort {name!r}{where}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(_field(str(part)) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{where!r} does not exist; remove it, or see `evoflash --help` for the known settings"
    return f"{where}: {first['msg']} (given: {first['input']!r})"
