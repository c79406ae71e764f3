"""CSV: one column per parameter, then `time_ms`, and optionally `status`, `compile_ms`, `bench_ms`."""

from __future__ import annotations

import csv
import io

from evoflash.core.genome import Genome
from evoflash.replay.formats.fields import gene_of_text, number_of_text
from evoflash.replay.formats.measurement import FAILED, Measurement, measurement
from evoflash.replay.formats.refusals import MisfitError, NoObjectiveError

DURATIONS = ("compile_ms", "bench_ms")  # with the status, the columns that are neither parameters nor values


def read_csv(family: str, text: str, objective: str | None) -> tuple[str, list[Measurement]]:
    """The name of the objective, by default `time_ms`, and a measurement for each row.

    Raises:
        MisfitError: when a row does not fit the header, or a value is no number.
        NoObjectiveError: when the objective is not a column.
    """
    try:
        header, *lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line] or [[]]
    except csv.Error as error:
        raise MisfitError(str(error)) from None
    wanted = objective or "time_ms"
    if wanted not in header:
        if objective is not None:
            raise NoObjectiveError(wanted, header)
        raise MisfitError(f"it has no column {wanted!r}")
    if len(set(header)) < len(header):
        raise MisfitError("two of its columns have the same name")
    parameters = [name for name in header if name not in (wanted, "time_ms", "status", *DURATIONS)]
    measurements = []
    for number, line in enumerate(lines, start=1):
        where = f"row {number}"
        if len(line) != len(header):
            raise MisfitError(f"{where} has {len(line)} fields and the header {len(header)}")
        row = dict(zip(header, line, strict=True))
        value = number_of_text(row[wanted], where, wanted) if row[wanted] else None
        status = row.get("status") or ("ok" if row[wanted] else FAILED)
        genome = Genome({name: gene_of_text(row[name]) for name in parameters})
        build_ms, bench_ms = (number_of_text(row.get(name) or "0", where, name) for name in DURATIONS)
        measurements.append(
            measurement(family, genome, value, wanted, "" if status == "ok" else status, build_ms, bench_ms)
        )
    return wanted, measurements
