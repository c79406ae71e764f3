"""The cluster that a search is sent to, as its settings name it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

from evoflash.cluster.connection import LOCAL, SLURM, Connection
from evoflash.cluster.security import Certificates
from evoflash.config import Settings
from evoflash.errors import UsageError
from evoflash.targets import Target
from evoflash.targets.devices import ALL


def join(
    settings: Settings, devices: str | None, say: Callable[[str], None], target: str | None = None
) -> tuple[Connection, list[Target], Settings]:
    """Connects to a scheduler and waits for its first device.

    Args:
        devices: for "slurm" how many jobs; for "local" as for `evoflash worker`.
        target: in place of the settings'.

    Returns:
        The connection, the devices that are alike, and the settings with as many builders as the cluster has.

    Raises:
        UsageError: for what means nothing on a cluster.
        WorkerError: when there is no scheduler, or no device.
        MissingError: without the extra `cluster`.
    """
    wanted = settings.scheduler or LOCAL
    if settings.arch is not None:
        raise UsageError("--arch means nothing on a cluster, which builds for its devices; leave it out")
    if devices is not None and wanted not in (LOCAL, SLURM):
        raise UsageError(f"--devices means nothing for {wanted}, whose workers name their devices; leave it out")
    if wanted == SLURM and devices is not None and not devices.isdigit():
        raise UsageError(f"--devices {devices} is no number of Slurm's jobs; write how many, such as --devices 4")
    options = ["--target", target or settings.target]
    if wanted == LOCAL:
        options += ["--devices", devices or ALL, *(["--jobs", str(settings.jobs)] if settings.jobs else [])]
    cluster = Connection(
        wanted,
        Certificates(settings.tls_ca_file, settings.tls_cert, settings.tls_key),
        workers=int(devices) if wanted == SLURM and devices is not None else 1,
        cache=settings.cache,
        options=options if wanted in (LOCAL, SLURM) else (),
        say=say,
    )
    with left_if_it_fails(cluster):
        found = cluster.devices(target or settings.target)
        hosts = sorted({each.host for each in found})
        say(f"searching on {len(found)} devices ({found[0].target.device}) of {', '.join(hosts)}")
        builders = cluster.builders()
        if not builders:
            say("none of its workers builds; start another by `evoflash worker`, without --jobs 0")
        taken = [replace(each.target, debug=settings.debug) for each in found]
        return cluster, taken, settings.model_copy(update={"jobs": max(1, builders)})


@contextlib.contextmanager
def left_if_it_fails(cluster: Connection) -> Iterator[None]:
    """Leaves a cluster if what follows is not to be."""
    try:
        yield
    except BaseException:
        cluster.close()
        raise
