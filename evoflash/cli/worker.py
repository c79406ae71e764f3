"""`evoflash worker`: a node of a cluster."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from evoflash import config, targets
from evoflash.cli import options
from evoflash.cluster.node import Node
from evoflash.cluster.security import Certificates, address_of
from evoflash.cluster.worker import Place, serve, worker_names
from evoflash.codegen.build_cache import BuildCache
from evoflash.targets.base import usable_cores
from evoflash.targets.devices import ALL

NONE = "none"


def worker(
    scheduler: Annotated[str, typer.Argument(metavar="SCHEDULER", help="Its address, as dask://HOST:PORT.")],
    target: options.TargetName = None,
    devices: Annotated[
        str | None,
        typer.Option(
            "--devices",
            metavar="all|N|0,1|none",
            help="The GPUs that this worker holds: all that are alike and idle, how many of those, or their numbers "
            "with a comma; none only builds; default: all.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "--nthreads", min=0, help="Parallel builds; default: the cores, less one for a GPU."),
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="The address at which other nodes reach this one; default: none do.")
    ] = None,
    interface: Annotated[str | None, typer.Option("--interface", help="The network of --host, e.g. ib0.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Default: the host's.")] = None,
    cache: options.Cache = None,
    patience: Annotated[
        float, typer.Option("--patience", "--death-timeout", help="Seconds to look for a scheduler that is gone.")
    ] = 600.0,
    tls_ca_file: options.TlsCaFile = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    _memory: Annotated[str | None, typer.Option("--memory-limit", hidden=True)] = None,
    _local: Annotated[Path | None, typer.Option("--local-directory", hidden=True)] = None,
    _protocol: Annotated[str | None, typer.Option("--protocol", hidden=True)] = None,
) -> None:
    """Build and examine for searches elsewhere, until their scheduler ends.

    Whoever can reach the scheduler can run programs here, as this user: see docs/security.md.
    """
    settings = config.load(target=target, cache=cache)
    certificates = Certificates(tls_ca_file, tls_cert, tls_key)
    found, words = ([], "") if devices == NONE else targets.detect_all(settings.target, devices or ALL)
    if words:
        _say(words)
    shares_cores = any(each.builds_disturb_timing for each in found)
    place = Place(
        scheduler=address_of(scheduler, certificates),
        name=f"{name or socket.gethostname()}-{os.getpid()}",
        builders=max(1, usable_cores() - (not shares_cores)) if jobs is None else jobs,
        host=host,
        interface=interface,
        certificates=certificates,
        patience_s=patience,
    )
    BuildCache(settings.cache).require_writable()
    node = Node(settings.cache, dict(zip(worker_names(place, found), found, strict=True)), take_turns=shares_cores)
    serve(place, node, _say)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
