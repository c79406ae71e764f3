"""How a candidate can end: a closed set of statuses, the gate that refused it, and how far it came."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """How a candidate ended. Only `OK` has a fitness."""

    OK = "ok"
    DUPLICATE = "duplicate"
    BUILD_FAILED = "build_failed"
    BUILD_TIMEOUT = "build_timeout"
    OVER_BUDGET = "over_budget"
    LAUNCH_FAILED = "launch_failed"
    WRONG = "wrong"
    CRASHED = "crashed"
    HUNG = "hung"
    MISMEASURED = "mismeasured"  # right, but with a time that no device like this can reach


class Gate(StrEnum):
    """What refuses a kernel; docs/verify.md says what each looks for, and at which stage."""

    BUILD = "build"
    LAUNCH = "launch"  # an error code, or a library that does not load
    CRASHED = "crashed"
    HUNG = "hung"
    ERROR = "error"  # errors beyond what SDPA's own allow
    NAN = "nan"  # a NaN where a number belongs, or an input's NaN that is lost
    UNWRITTEN = "unwritten"  # outputs that still hold the poison
    READS = "reads"  # what lies around the inputs comes out
    WRITES = "writes"  # outside of the output
    WORKSPACE = "workspace"  # outside of the workspace
    INPUTS = "inputs"  # overwritten
    REPEAT = "repeat"  # the same inputs give other bits
    FRESH = "fresh"  # other values at the same addresses give the old answer
    KEPT = "kept"  # an earlier answer changes when the kernel runs again
    ALIAS = "alias"  # the output shares memory with an input
    FORM = "form"  # the output has another shape, dtype or device
    STREAM = "stream"  # work on another stream than the current one
    TIMED = "timed"  # what the timed launches leave is wrong
    FLOOR = "floor"  # faster than the device can be
    SANITIZER = "sanitizer"
    DECLINED = "declined"  # it takes none of what it is meant for


class Stage(StrEnum):
    """How far down the cascade an evaluation went."""

    BUILD = "build"
    RESOURCES = "resources"
    CORRECTNESS = "correctness"
    QUICK = "quick"
    FULL = "full"
    FINAL = "final"
