"""The problems that --shape and --problem name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from evoflash import resources, targets
from evoflash.config import Settings
from evoflash.core.status import Status
from evoflash.errors import UsageError, unknown
from evoflash.evaluator.messages import Describe, Described
from evoflash.evaluator.sandbox import Sandbox, WorkerDeath
from evoflash.problems import Problem, attention
from evoflash.problems.sizes import fields_of

DESCRIPTION_S = 60.0  # in which a function must have been run at all its sizes
DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}  # short names, which --dtype takes


def chosen(
    problem: str | None, texts: Sequence[str] | None, dtype: str | None, settings: Settings, device: str
) -> dict[str, Problem]:
    """The problems by name, as the user wrote it.

    Args:
        problem: the value of --problem: a Python file, or the name of one that ships; None for attention.
        texts: the values of --shape; by default `mission`, or what the file says.
        device: where a file's function is run: "cpu", "cuda", or "cuda:UUID".

    Raises:
        UsageError: for a file that cannot be searched, and sizes that it has not.
        NotFoundError: for a name that is unknown.
        WorkerError: when no worker can be started to run the file.
    """
    if problem is None:
        return dict(attention.parse_all(texts or ["mission"], dtype, settings.templates))
    path = _file(problem, settings.templates)
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--problem {problem} cannot be read: {error}; give a Python file") from None
    wanted: Mapping[str, Mapping[str, str]] = fields_of(texts or []) or {"": {}}
    found: dict[str, Problem] = {}
    with Sandbox(device) as sandbox:
        for name, sizes in wanted.items():
            asked = {**sizes, **({"dtype": DTYPES.get(dtype, dtype)} if dtype is not None else {})}
            described = described_by(sandbox, Describe(file=path.name, source=source, sizes={**asked}))
            if described not in found.values():
                found[name or described.computes] = described
    return found


def device_of(target: str) -> str:
    """The device where a file's function is run: that of a target, or the CPU where there is none."""
    return "cpu" if target == "cpu" or targets.why_not_cuda() else targets.detect("cuda").place


def one(problem: str | None, text: str | None, dtype: str | None, settings: Settings, device: str) -> Problem:
    """The problem of a command that takes one shape.

    Raises:
        UsageError: for several, and as `chosen` does.
    """
    found = chosen(problem, [text] if text else None, dtype, settings, device)
    if len(found) > 1:
        raise UsageError(f"--shape names {len(found)} shapes ({', '.join(found)}); name one")
    return next(iter(found.values()))


def described_by(sandbox: Sandbox, request: Describe, deadline_s: float = DESCRIPTION_S) -> Problem:
    """The problem of a file, which a worker runs.

    Raises:
        UsageError: when it cannot be searched, says why.
    """
    answer = sandbox.call(request, deadline_s)
    if isinstance(answer, WorkerDeath):
        if answer.status is Status.HUNG:
            raise UsageError(
                f"{request.file} has not finished after {deadline_s:g} s; choose smaller sizes with --shape, or "
                "make its function and get_inputs faster"
            )
        raise UsageError(f"{request.file} ends its process: {answer.reason}; choose smaller sizes, or mend the file")
    described = Described.model_validate(answer)
    if described.problem is None:
        raise UsageError(described.reason)
    return described.problem


def _file(text: str, folders: Sequence[Path]) -> Path:
    """The path of a problem's file.

    Raises:
        NotFoundError: when there is none.
    """
    path = Path(text).expanduser()
    if path.suffix == ".py" or path.is_file():
        if not path.is_file():
            raise UsageError(f"there is no file {text}; check the path")
        return path
    shipped: dict[str, Path] = {}
    for root in resources.roots(folders):
        for each in sorted((root / "problems").glob("*.py")):
            shipped.setdefault(each.stem, each)
    if text not in shipped:
        raise unknown("problem", text, shipped)
    return shipped[text]
