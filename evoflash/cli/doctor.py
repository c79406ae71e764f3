"""`evoflash doctor`: checks what this machine has and what is missing."""

from __future__ import annotations

import sys

from evoflash import config
from evoflash.api import rivals
from evoflash.cli import diagnostics, options
from evoflash.cli.diagnostics import Check
from evoflash.cli.runs import AsJson, Database
from evoflash.config import Settings
from evoflash.core.record import Document, Record
from evoflash.errors import MissingError
from evoflash.evaluator import racing
from evoflash.evaluator.messages import Probed
from evoflash.evaluator.sandbox import Sandbox
from evoflash.problems import attention
from evoflash.problems.rival import Rival
from evoflash.report.tables import Sheet, print_document, print_sheets
from evoflash.version import __version__

Rivals = tuple[tuple[Rival, ...], Probed]  # installed or not, and how the imports of the installed ones went


class CheckFacts(Record):
    """The result of one check.

    Attributes:
        name: what was checked.
        need: what needs it: "any" search, "cpu", "cuda", or "optional" work such as profiling.
        ok: whether it is there and works.
        state: the same in a word, "ok" or "missing".
        found: what was found: version, path, or why it does not work.
        fix: what to do if it is missing.
    """

    name: str
    need: str
    ok: bool
    state: str
    found: str
    fix: str


class RivalFacts(Record):
    """A baseline beside PyTorch's.

    Attributes:
        name: as `--baseline` takes it.
        module: what is imported.
        version: of the installed package.
        state: "installed", "not installed" or "unusable".
        reason: why it is unusable.
    """

    name: str
    module: str
    version: str
    state: str
    reason: str


class DoctorDocument(Document):
    """What this machine has and what is missing.

    Attributes:
        evoflash: its version.
        target: the target that a search would choose; None if there is none.
        can_search: whether a search can run here.
        checks: in the order in which they were made.
        rivals: baselines beside PyTorch's on the target.
    """

    evoflash: str
    target: str | None
    can_search: bool
    checks: tuple[CheckFacts, ...]
    rivals: tuple[RivalFacts, ...]


def doctor(
    target: options.TargetName = None,
    arch: options.Arch = None,
    templates: options.Templates = None,
    db: Database = None,
    cache: options.Cache = None,
    as_json: AsJson = False,
) -> None:
    """Check what this machine has and what is missing; exit code 0 if a search can run here, otherwise 3."""
    settings = config.load(target=target, arch=arch, templates=templates, db=db, cache=cache)
    checks, chosen, (others, probed) = _checks(settings)
    blocking = _blocking(checks, chosen)
    if as_json:
        print_document(
            DoctorDocument(
                evoflash=__version__,
                target=chosen,
                can_search=not blocking,
                checks=tuple(_facts(each) for each in checks),
                rivals=tuple(RivalFacts.model_validate(each) for each in rivals.facts(others, probed)),
            )
        )
    else:
        rows = [(check.name, check.state, check.need, check.found, "" if check.ok else check.fix) for check in checks]
        print_sheets(Sheet.of(f"evoflash {__version__}", "what|state|needed by|found|what to do", rows))
        print_sheets(rivals.sheet(others, probed, str(chosen)))
    if blocking:
        todo = "; ".join(dict.fromkeys(f"{check.name}: {check.fix}" for check in blocking))
        raise MissingError(f"no search can run here; {todo}")
    if not as_json:
        print(f"`evoflash search` can run here, on {chosen}")


def _facts(check: Check) -> CheckFacts:
    return CheckFacts(
        name=check.name, need=check.need, ok=check.ok, state=check.state, found=check.found, fix=check.fix
    )


def _checks(settings: Settings) -> tuple[list[Check], str | None, Rivals]:
    """All checks, the name of the target that a search would choose, and its rivals."""
    version = sys.version.split()[0]
    found, check = diagnostics.target_of(settings)
    checks = [
        Check("Python", "any", True, f"{version} at {sys.executable}"),
        *diagnostics.python_packages(),
        *diagnostics.host_compiler(),
        *diagnostics.cuda_tools(settings.arch),
        *diagnostics.storage(settings),
        check,
    ]
    if found is None:
        return checks, None, ((), Probed())
    with Sandbox(found.place) as sandbox:
        running = diagnostics.worker(found, sandbox)
        others = _rivals(found.name, sandbox if running.ok else None)
    return [*checks, running, *diagnostics.families(found, settings.templates)], found.name, others


def _rivals(target: str, sandbox: Sandbox | None) -> Rivals:
    """The rivals of a target, and how the imports of the installed ones go in a worker, if there is one."""
    problem = attention.parse("mission")
    others = problem.rivals(target)
    installed = [each.name for each in others if each.is_installed]
    if sandbox is None:
        return others, Probed(failures=dict.fromkeys(installed, "the evaluation worker does not start"))
    return others, racing.probe(sandbox, problem, installed)


def _blocking(checks: list[Check], target: str | None) -> list[Check]:
    """The failed checks that prevent every search."""
    missing = [check for check in checks if not check.ok and check.need in ("any", target)]
    families = [check for check in checks if check.name.startswith("family ")]
    if target is not None and not any(check.ok for check in families):
        fix = "choose another --target, or add a template with --templates DIR"
        missing.append(Check("families", "any", False, "none supports the mission shape here", fix))
    return missing
