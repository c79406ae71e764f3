"""`evoflash.search`: a whole search as one call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from evoflash.api.request import SearchRequest
from evoflash.api.result import OnResult
from evoflash.api.run import Run
from evoflash.errors import UsageError

PathLike = str | os.PathLike[str]


def search(
    shape: str | Sequence[str] | None = None,
    *,
    problem: PathLike | None = None,
    score: Literal["each", "robust"] = "each",
    dtype: str | None = None,
    target: str | None = None,
    devices: str | int | Sequence[int] | None = None,
    finals_on: Literal["one", "each"] = "one",
    scheduler: str | None = None,
    tls_ca_file: PathLike | None = None,
    tls_cert: PathLike | None = None,
    tls_key: PathLike | None = None,
    arch: str | None = None,
    family: str | Sequence[str] = (),
    strategy: str = "evolution",
    effort: str = "standard",
    budget: int | None = None,
    minutes: float | None = None,
    patience: float | None = None,
    warm_start: str | int = "auto",
    seed: int = 0,
    max_registers: int | None = None,
    max_shared_kib: float | None = None,
    no_spills: bool = False,
    sanitize: bool = False,
    baseline: str | Sequence[str] = (),
    jobs: int | None = None,
    templates: PathLike | Sequence[PathLike] | None = None,
    db: PathLike | None = None,
    cache: PathLike | None = None,
    debug: bool | None = None,
    verbose: bool | None = None,
    on_result: OnResult | None = None,
) -> Run:
    """Searches for the fastest correct kernel of a shape, or of several, as `evoflash search` does.

    It prints nothing and writes no package: `Run.export` does. Options that are None have their values from
    `EVOFLASH_…` variables, evoflash.yaml or the defaults, as on the command line. Messages name an option as the
    command line does: --max-registers is `max_registers`.

    Args:
        shape: a name from configs/shapes.yaml, or fields such as "b=1,h=8,s=512,d=64,causal"; several by commas or as a
            sequence; default: "mission". With `problem` its sizes, such as "rows=16,columns=4096".
        problem: in place of attention: a Python file with a PyTorch function and get_inputs(), a task of KernelBench,
            or the name of one that ships.
        score: with several shapes, "each" finds the fastest kernel of each, "robust" one kernel for all of them.
        dtype: "fp16", "bf16" or "fp32"; default: that of the shape, or fp16.
        target: "auto", "cuda" or "cpu".
        devices: the GPUs to search on: "all" that are alike and idle (the default), how many of those, or their
            numbers, e.g. [0, 1].
        finals_on: "one" holds the finals on the first device; "each" on every device, at the same time: the first
            decides who wins, the others are told apart, as `Finals.elsewhere`.
        scheduler: search on the devices of a cluster: "dask://HOST:PORT", "slurm" or "local".
        tls_ca_file, tls_cert, tls_key: the certificates of the cluster, in PEM format.
        arch: CUDA architecture, e.g. "sm_90a"; default: the device's.
        family: only these families of kernels.
        strategy: "evolution", "random", "best-of-n", "tpe", "cmaes", "nsga2" or "gp"; settings follow a colon.
        effort: "quick", "standard" or "thorough": see configs/effort.yaml.
        budget: maximum number of candidates; overrides the effort.
        minutes: maximum minutes of search; overrides the effort.
        patience: stop when the next 20 candidates are expected to improve the best time by less than this many percent.
        warm_start: "auto" starts from the most similar earlier run, "none" from nothing, a run from that one.
        seed: of every random choice.
        max_registers: reject CUDA kernels with more registers per thread.
        max_shared_kib: reject CUDA kernels with more shared memory per block, in KiB.
        no_spills: reject CUDA kernels that spill registers.
        sanitize: run correct kernels under sanitizers; an error disqualifies them.
        baseline: further baselines: "module:function", or the name of an installed package; "none" leaves packages out.
        jobs: parallel builds; default: the number of cores.
        templates: folders with your own templates/ and search_spaces/.
        db: the database, a path or an SQLAlchemy URL; default: runs/evoflash.db.
        cache: folder of the build cache; default: runs/builds.
        debug: build with debug information.
        verbose: show compiler commands and output on standard error.
        on_result: is called with each `Result` (candidate, evaluation, best so far) after it has been stored, in the
            thread of the search. What it raises ends the search cleanly and is raised here; the run can be resumed.

    Returns:
        The run, whether a kernel was correct or not. Of a search over several shapes that of the first one; the others
        are its `siblings`.

    Raises:
        UsageError: for an option that does not parse, does not exist or means nothing here.
        SpaceError: for a shape that no family takes.
        MissingError: when the device, a compiler or a package is not there.
        StorageError: when database or build cache cannot be written, or another search is writing to the database.
        WorkerError: when nothing can be measured here.
        KeyboardInterrupt: after everything that is known has been stored; `open_run("latest").resume()` goes on.

    Example:
        >>> import evoflash                                                          # doctest: +SKIP
        >>> run = evoflash.search("mission", budget=200, minutes=2)                  # doctest: +SKIP
        >>> run.best.p50_us, run.best.vs_best                                        # doctest: +SKIP
        (3.913, 2.5)
    """
    if score not in ("each", "robust"):
        raise UsageError(f"score {score!r} is unknown; choose from: each, robust")
    if finals_on not in ("one", "each"):
        raise UsageError(f"finals_on {finals_on!r} is unknown; choose from: one, each")
    request = SearchRequest(
        shape=several(shape),
        problem=os.fspath(problem) if problem is not None else None,
        score=score,
        dtype=dtype,
        target=target,
        devices=_device_words(devices),
        finals_on=finals_on,
        scheduler=scheduler,
        tls_ca_file=Path(tls_ca_file) if tls_ca_file is not None else None,
        tls_cert=Path(tls_cert) if tls_cert is not None else None,
        tls_key=Path(tls_key) if tls_key is not None else None,
        arch=arch,
        family=several(family),
        strategy=strategy,
        effort=effort,
        budget=budget,
        minutes=minutes,
        patience=patience,
        warm_start=str(warm_start),
        seed=seed,
        max_registers=max_registers,
        max_shared_kib=max_shared_kib,
        no_spills=no_spills,
        sanitize=sanitize,
        baseline=several(baseline),
        jobs=jobs,
        templates=folders(templates),
        db=os.fspath(db) if db is not None else None,
        cache=Path(cache) if cache is not None else None,
        debug=debug,
        verbose=verbose,
    )
    prepared = request.prepare()
    first, *_ = prepared.run(on_result)
    return Run(first, prepared.settings.db)


def _device_words(given: str | int | Sequence[int] | None) -> str | None:
    """What `--devices` would be given."""
    if given is None or isinstance(given, str):
        return given
    return str(given) if isinstance(given, int) else "".join(f"{number}," for number in given)


def several(given: str | Sequence[str] | None) -> list[str]:
    """One or several words as a list."""
    return [given] if isinstance(given, str) else list(given or ())


def folders(given: PathLike | Sequence[PathLike] | None) -> list[Path] | None:
    """One or several folders as a list."""
    if given is None:
        return None
    return [Path(each) for each in ([given] if isinstance(given, str | os.PathLike) else given)]
