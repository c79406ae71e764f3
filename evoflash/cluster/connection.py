"""The driver's connection to a scheduler of Dask's: one that runs somewhere, or one that it starts itself."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evoflash.cluster import requests
from evoflash.cluster.security import LOCALHOST, Certificates, address_of, quieten, require_distributed
from evoflash.cluster.values import Described, kind_of
from evoflash.cluster.worker import BUILD, device_resource
from evoflash.errors import MissingError, UsageError, WorkerError
from evoflash.system import processes
from evoflash.targets import Target

if TYPE_CHECKING:
    from distributed import Client

LOCAL, SLURM = "local", "slurm"
CONNECT_S = 10.0
FIRST_WORKER_S = 120.0  # for a worker on this machine, or one that was started beside the scheduler
POLL_S = 0.2
SETTLED_S = 0.6  # after a device has come: the others of its host come within moments
NO_DASHBOARD: dict[str, Any] = {"dashboard_address": None}
TARGETS = {"GPU": "cuda", "CPU": "cpu"}


class Connection:
    """A scheduler, and what the driver has started for it.

    Args:
        wanted: "local", "slurm", or the address of a scheduler.
        workers: jobs of Slurm; 1 elsewhere.
        cache: of the workers that are started on this machine.
        say: is told what it waits for.
    """

    def __init__(
        self,
        wanted: str,
        certificates: Certificates | None = None,
        *,
        workers: int = 1,
        cache: Path | None = None,
        options: Sequence[str] = (),
        say: Callable[[str], None] = lambda _: None,
    ):
        require_distributed()
        self.certificates = certificates or Certificates()
        self._security = self.certificates.security()
        self._say = say
        self._cluster: Any = None
        self._child: subprocess.Popen[Any] | None = None
        self._is_slurm = wanted == SLURM
        quieten()
        if wanted == LOCAL:
            self.address = self._start_local(cache, options)
        elif wanted == SLURM:
            self.address = self._start_slurm(workers, options)
        else:
            self.address = address_of(wanted, self.certificates)
        try:
            self.client = self.connected()
        except BaseException:
            self._end_own()
            raise

    def connected(self, timeout_s: float | None = None) -> Client:
        """A client of the scheduler.

        Raises:
            WorkerError: when there is none.
        """
        from distributed import Client

        try:
            # Nothing of this process is to become the default of other users of Dask in it.
            return Client(self.address, security=self._security, timeout=timeout_s or CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise WorkerError(
                f"there is no scheduler at {self.address} ({error}); start it with `dask scheduler`, or look at its "
                "address and certificates"
            ) from None

    def devices(self, target: str = "auto") -> list[Described]:
        """The devices of workers that are alike; waits for the first, and for those that come with it.

        Of several kinds those are taken that are most; the others are named.

        Args:
            target: "cuda", "cpu", or "auto", which is CUDA where a worker has such a device.

        Raises:
            WorkerError: when no worker with a device comes.
        """
        start, told = time.monotonic(), False
        while not (found := self._described(target)):
            if not self._is_slurm and time.monotonic() - start > FIRST_WORKER_S:
                raise WorkerError(
                    f"no worker with a device has come to {self.address}; start one by `evoflash worker {self.address}`"
                )
            self._require_child()
            if not told and time.monotonic() - start > 5:
                self._say(f"waiting for a worker with a device at {self.address}")
                told = True
            time.sleep(POLL_S)
        found = self._settled(target, found)
        if target == "auto" and any(each.target.name == "cuda" for each in found):
            found = [each for each in found if each.target.name == "cuda"]
        kinds: dict[str, list[Described]] = {}
        for each in found:
            kinds.setdefault(kind_of(each.target), []).append(each)
        taken, *others = sorted(kinds.values(), key=len, reverse=True)
        for left in others:
            hosts = ", ".join(sorted({each.host for each in left}))
            self._say(f"{left[0].target.device} on {hosts} is left out: it is not like {taken[0].target.device}")
        return taken

    def _settled(self, target: str, found: list[Described]) -> list[Described]:
        """The devices when no more have come for a moment: the window of a search follows from how many they are."""
        since = time.monotonic()
        while time.monotonic() - since < SETTLED_S:
            time.sleep(POLL_S)
            before, found = len(found), self._described(target)
            since = since if len(found) == before else time.monotonic()
        return found

    def builders(self) -> int:
        """Builds at once, on all nodes."""
        return int(sum(each["resources"].get(BUILD, 0) for each in self.workers().values()))

    def workers(self) -> dict[str, Any]:
        """What the scheduler knows of its workers, by address."""
        return dict(self.client.scheduler_info()["workers"])

    def close(self) -> None:
        """Leaves the scheduler; ends it where it was started for this driver."""
        with contextlib.suppress(Exception):  # it may be gone
            self.client.close(timeout=2)
        self._end_own()

    def _described(self, target: str) -> list[Described]:
        wanted = {name for name, own in TARGETS.items() if target in ("auto", own)}
        holders = [address for address, each in self.workers().items() if wanted & set(each["resources"])]
        answers: Any = self.client.run(requests.described, workers=holders, on_error="ignore") if holders else {}
        return [each for each in answers.values() if isinstance(each, Described)]

    def _start_local(self, cache: Path | None, options: Sequence[str]) -> str:
        """A scheduler in this process, which this machine alone can reach, and one node."""
        from distributed import LocalCluster

        self._cluster = LocalCluster(n_workers=0, host=LOCALHOST, **NO_DASHBOARD, security=self._security)
        own = ["--cache", str(cache)] if cache is not None else []
        command = [sys.executable, "-m", "evoflash", "worker", self._cluster.scheduler_address, "--patience", "0"]
        self._child = processes.start([*command, *own, *self.certificates.options, *options], stdout=subprocess.DEVNULL)
        return self._cluster.scheduler_address

    def _start_slurm(self, workers: int, options: Sequence[str]) -> str:
        """A scheduler in this process, and jobs of Slurm's that start nodes."""
        self._cluster = slurm_cluster(self._security if self.certificates else None, options)
        self._cluster.scale(jobs=workers)
        self._say(f"submitted {workers} jobs to Slurm")
        return self._cluster.scheduler_address

    def _require_child(self) -> None:
        if self._child is not None and self._child.poll() is not None:
            raise WorkerError("the worker on this machine has ended; run `evoflash doctor`")

    def _end_own(self) -> None:
        if self._cluster is not None:
            with contextlib.suppress(Exception):
                self._cluster.close(timeout=5)
        if self._child is not None:
            processes.kill(self._child)


def slurm_cluster(security: Any = None, options: Sequence[str] = (), **settings: Any) -> Any:
    """A cluster of jobs of Slurm's, each of which is a node; queue, cores, walltime … are those of `jobqueue.yaml`.

    Args:
        options: of `evoflash worker`.
        settings: of `dask_jobqueue.SLURMCluster`, in place of those of the file.

    Raises:
        MissingError: without the extra `cluster`.
        UsageError: when settings are missing.
    """
    try:
        from dask import config
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError as error:
        raise MissingError(f"slurm needs dask-jobqueue ({error}); pip install 'evoflash[cluster]'") from None
    known = {name.replace("-", "_"): value for name, value in config.get("jobqueue.slurm", {}).items()} | settings
    if known.get("cores") is None or known.get("memory") is None:
        raise UsageError(
            "Slurm's jobs need cores and memory; write them to ~/.config/dask/jobqueue.yaml, as in docs/clusters.md"
        )
    if known.get("interface") is None and not known.get("scheduler_options", {}).get("host"):
        raise UsageError(
            "Slurm's jobs must reach this machine; name the network by `interface:` in ~/.config/dask/jobqueue.yaml, "
            "as in docs/clusters.md"
        )
    own = {
        "processes": 1,
        "nanny": False,
        "worker_command": "evoflash worker",
        "worker_extra_args": [*(known.get("worker_extra_args") or []), *options],
        "security": security,
        "n_workers": 0,
    }
    scheduler = {**NO_DASHBOARD, **(known.get("scheduler_options") or {})}
    return SLURMCluster(**{**settings, **own}, scheduler_options=scheduler)


def resources_of(target: Target) -> dict[str, float]:
    """What a task takes of a worker that holds a device like this one."""
    return {device_resource(target): 1.0, kind_of(target): 1.0}
