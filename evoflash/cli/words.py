"""Arguments and options that take a word for a run or a candidate; see `evoflash.api.words`."""

from __future__ import annotations

from typing import Annotated

import typer

from evoflash.api.words import CANDIDATE_HELP, RUN_HELP, CandidateWord, RunWord

Run = Annotated[
    RunWord | None,
    typer.Argument(
        parser=RunWord.parse, metavar="RUN", help=f"The run: {RUN_HELP}; default: latest.", show_default=False
    ),
]
Runs = Annotated[
    list[RunWord] | None,
    typer.Argument(
        parser=RunWord.parse, metavar="RUN", help=f"Runs, each {RUN_HELP}; default: latest.", show_default=False
    ),
]
Candidate = Annotated[
    CandidateWord,
    typer.Argument(parser=CandidateWord.parse, metavar="CANDIDATE", help=f"The candidate: {CANDIDATE_HELP}."),
]
CandidateOption = Annotated[
    CandidateWord | None,
    typer.Option(
        "--candidate",
        parser=CandidateWord.parse,
        metavar="CANDIDATE",
        help=f"Export this candidate instead of the run's best: {CANDIDATE_HELP}.",
    ),
]
