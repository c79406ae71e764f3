"""A search in a process of its own that makes its results up: it begins within milliseconds, so it can be killed often.

The loop, the proposals, the database, its lock and the reports are the real ones; builds and evaluations are not.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from evoflash import targets
from evoflash.errors import EvoflashError
from evoflash.report.events import Events
from evoflash.store import RunStore, engine
from tests.helpers import TINY, plan
from tests.made_up import MadeUpToolchain, made_up_search


def drive(folder: Path, said: str, changes: dict[str, Any], busy_s: float | None = None) -> None:
    """Begins the run of a folder, or goes on with it; what it reports goes to a file.

    Args:
        busy_s: how long it waits for another program's lock on the database.
    """
    with open(folder / said, "ab") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    if busy_s is not None:
        engine.BUSY_SECONDS = busy_s
    target = targets.detect("cpu")
    try:
        with RunStore.open(str(folder / "runs.db"), write=True) as store:
            run_ids = [1] if store.runs() else []
            wanted = plan(target, "tiny", TINY, **changes)
            made_up_search([wanted], target, MadeUpToolchain(jitter=True), store, Events(), run_ids).run()
    except EvoflashError as error:
        print(f"evoflash: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
