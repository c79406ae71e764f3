"""Statuses of a candidate, the gates that can reject it, and the stages of an evaluation."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """How the evaluation of a candidate ended. Only `OK`, and a `DUPLICATE` of an ok original, has a fitness."""

    OK = "ok"
    DUPLICATE = "duplicate"
    BUILD_FAILED = "build_failed"
    BUILD_TIMEOUT = "build_timeout"
    OVER_BUDGET = "over_budget"
    LAUNCH_FAILED = "launch_failed"
    WRONG = "wrong"
    CRASHED = "crashed"
    HUNG = "hung"
    MISMEASURED = "mismeasured"  # correct, but the measured time is impossible on this device


class Gate(StrEnum):
    """The checks that can reject a kernel; docs/verify.md describes each."""

    BUILD = "build"
    LAUNCH = "launch"  # the launcher returns an error code, or the library does not load
    CRASHED = "crashed"
    HUNG = "hung"
    ERROR = "error"  # errors beyond the bounds
    NAN = "nan"  # a NaN where a number is expected, or an input's NaN that is not propagated
    UNWRITTEN = "unwritten"  # elements of the output were not written
    READS = "reads"  # reads outside the inputs
    WRITES = "writes"  # writes outside the output
    WORKSPACE = "workspace"  # writes outside the workspace
    INPUTS = "inputs"  # overwrites its inputs
    REPEAT = "repeat"  # the same inputs give different bits
    FRESH = "fresh"  # new values at the same addresses give the old result
    KEPT = "kept"  # a later call changes an earlier output
    ALIAS = "alias"  # the output shares memory with an input
    FORM = "form"  # the output has the wrong shape, dtype or device
    STREAM = "stream"  # works on a stream other than the current one
    TIMED = "timed"  # the timed launches left a wrong output
    FLOOR = "floor"  # faster than the device allows
    SANITIZER = "sanitizer"
    DECLINED = "declined"  # declines every case that it is meant for


class Stage(StrEnum):
    """The stages of an evaluation, in order."""

    BUILD = "build"
    RESOURCES = "resources"
    CORRECTNESS = "correctness"
    QUICK = "quick"
    FULL = "full"
    FINAL = "final"
