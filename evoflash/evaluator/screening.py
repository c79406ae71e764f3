"""The gates that a build passes before it goes to a device."""

from __future__ import annotations

from evoflash.codegen.toolchain import Build
from evoflash.core.evaluation import Evaluation
from evoflash.core.record import Record
from evoflash.core.status import Stage, Status
from evoflash.targets import Target


class Limits(Record):
    """Resources that a candidate may take; None is no limit."""

    max_registers: int | None = None
    max_shared_bytes: int | None = None
    max_spill_bytes: int | None = None


def screen(build: Build, limits: Limits, target: Target) -> Evaluation | None:
    """The verdict of the gates that need no device, or None when the candidate passed them."""
    report = build.report
    if build.status is not None:
        return Evaluation(status=build.status, stage=Stage.BUILD, reason=build.reason, build=report)
    warnings = target.warnings(report.log)
    if warnings:
        reason = f"the compiler warns: {warnings[0]}"
        return Evaluation(status=Status.OVER_BUDGET, stage=Stage.RESOURCES, reason=reason, build=report)
    spills = [each for each in (limits.max_spill_bytes, build.max_spill_bytes) if each is not None]
    for name, used, limit in (
        ("registers", report.registers, limits.max_registers),
        ("bytes of shared memory", report.shared_bytes, limits.max_shared_bytes),
        ("bytes of spills", report.spill_bytes, min(spills, default=None)),
    ):
        if limit is not None and used is not None and used > limit:
            reason = f"{used} {name}, over the limit of {limit}"
            return Evaluation(status=Status.OVER_BUDGET, stage=Stage.RESOURCES, reason=reason, build=report)
    return None
