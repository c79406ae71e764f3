"""The scheduler of several hosts: Dask's, which knows who is there, who is free and who is lost.

A request is a task of Dask's. Builds go to workers that have the resource BUILD, all else to those that hold a device
of the search's kind, one at a time. What happens to requests:

- their worker is lost: Dask gives them to another one;
- a node says that something is wrong with itself (a full disk, a lost device): it is sent away, and another node is
  asked; the complaint of the last one ends the search, which can be resumed;
- the scheduler is lost: they are sent again when it is back.

Each has one future of the driver's, which comes true once. So nothing is lost, and nothing is counted twice, although
some work may be done twice.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any

from evoflash.cluster import requests
from evoflash.cluster.connection import Connection, resources_of
from evoflash.cluster.values import Answer, Setup, kind_of
from evoflash.cluster.worker import BUILD
from evoflash.codegen.toolchain import Build
from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.core.finals import Finals
from evoflash.errors import EvoflashError, WorkerError
from evoflash.evaluator.sanitizers import Finding
from evoflash.problems import Case, Problem
from evoflash.run.fair_clock import ratio_of
from evoflash.run.jobs import Beginning, Entrant, Examination, Job
from evoflash.run.plan import Plan
from evoflash.run.scheduler import Throughput
from evoflash.targets import Target

EXAMINATION, FIRST = 10, 20  # priorities: a device that waits comes before builds, and what the driver waits for, first
DEATHS = 3  # of workers, or of answers, of the same request, after which it is not sent again
RECONNECT_S = 300.0  # a scheduler that is gone for longer ends the search
NOBODY_S = 600.0  # so long a search waits for a worker where there is none
LOOK_S = 1.0  # between two looks at who is there


@dataclass(eq=False)
class Request:
    """One request, and the future that it makes true.

    Attributes:
        resources: what it takes of a worker.
        worker: the only one that may do it; empty: any.
        task: of Dask's, as it was sent last.
    """

    work: Callable[..., Any]
    arguments: tuple[Any, ...]
    resources: Mapping[str, float]
    priority: int
    candidate: Candidate | None = None
    worker: str = ""
    future: Future[Any] = field(default_factory=Future)
    task: Any = None
    deaths: int = 0


class DaskScheduler:
    """Has the jobs of a search done by the nodes of a cluster.

    Args:
        connection: to the scheduler; closed with this.
        target: what the candidates are rendered for; devices that are not like it are not used.
        reconnect_s, nobody_s: how long to wait for a scheduler that is gone, and for a worker where there is none.
    """

    def __init__(
        self,
        connection: Connection,
        plans: Sequence[Plan],
        target: Target,
        *,
        reconnect_s: float = RECONNECT_S,
        nobody_s: float = NOBODY_S,
    ):
        self._connection = connection
        self._setup = Setup.of(plans, target, plans[0].build_deadline_s)
        self._device = resources_of(target)
        self._kind = kind_of(target)
        self._reconnect_s = reconnect_s
        self._nobody_s = nobody_s
        self._take_turns = target.builds_disturb_timing
        self._numbers = itertools.count()
        self._guard = threading.RLock()
        self._open: dict[int, Request] = {}  # whose futures have not come true, by their numbers
        self._again: SimpleQueue[tuple[int, Request]] = SimpleQueue()  # to be sent again
        self._sent_away: dict[str, str] = {}  # address of a worker -> why
        self._news: SimpleQueue[str] = SimpleQueue()
        self._seconds = {"build": 0.0, "examine": 0.0}
        self._places = {"build": 0, "examine": 0}
        self._dropped = threading.Event()
        self._alone_since: dict[str, float] = {}
        self._look()
        self._keeper = threading.Thread(target=self._keep, name="cluster", daemon=True)
        self._keeper.start()

    def begin(self, plan: int) -> Beginning:
        """Times a plan's baselines on a device, then on all that are there, at the same time, to compare them."""
        begun: Beginning = self._ask(requests.begin, plan)
        devices = self._devices()
        timed = {
            each: self._send(Request(requests.clock, (self._setup, plan), self._device, FIRST, worker=each))
            for each in devices
        }
        times_us: dict[str, Mapping[str, float]] = {}
        for worker, future in timed.items():
            with contextlib.suppress(WorkerError):  # it was sent away, and the driver told
                times_us[devices[worker]] = future.result()
        if not times_us:
            raise WorkerError("no device of the cluster could be timed; look at its workers, then try again")
        reference = next(iter(times_us.values()))
        ratios = {name: ratio_of(times, reference) for name, times in times_us.items()} if len(times_us) > 1 else {}
        return replace(begun, reference=reference, clock_ratios=ratios)  # others may join later, and need the reference

    def build(self, job: Job) -> Future[Build]:
        """Builds a source on the next builder that is free, wherever it is."""
        return self._send(Request(requests.build, (self._setup, job.source), {BUILD: 1.0}, 0, job.candidate))

    def examine(self, wanted: Examination) -> Future[Evaluation]:
        """Examines a build on the next device that is free, wherever it is."""
        candidate = wanted.job.candidate
        return self._send(Request(requests.examine, (self._setup, wanted), self._device, EXAMINATION, candidate))

    def passes(self, job: Job, build: Build, case: Case) -> bool:
        """Whether a kernel takes a case and is right there."""
        return self._ask(requests.passes, job.plan, job.source, build, case)

    def sanitize(self, job: Job, build: Build, problem: Problem) -> Future[list[Finding]]:
        """Runs a kernel under the sanitizers, where there is a device."""
        return self._send(Request(requests.sanitize, (self._setup, job.source, build, problem), self._device, FIRST))

    def finals(self, plan: int, entrants: Sequence[Entrant], rounds: int, *, everywhere: bool = False) -> Finals:
        """The finals on one device, and on the others that are there if they are to be everywhere."""
        arguments = (self._setup, plan, entrants, rounds)
        sent = [
            self._send(Request(requests.finals, arguments, self._device, FIRST, worker=each))
            for each in (self._devices() if everywhere else ())
        ]
        held: list[Finals] = []
        for future in sent:
            with contextlib.suppress(WorkerError):  # it is lost, or was sent away, and the driver told
                held.append(future.result())
        if not held:
            return self._ask(requests.finals, plan, entrants, rounds)
        return held[0].model_copy(update={"elsewhere": tuple(held[1:])})

    def release(self, plan: int) -> None:
        """Ends the workers of a plan."""
        self._tell_all(requests.release, self._setup, plan)

    def news(self) -> list[str]:
        """Who came, went and was sent away since this was asked."""
        found = []
        with contextlib.suppress(Empty):
            while True:
                found.append(self._news.get_nowait())
        return found

    @property
    def building(self) -> Sequence[Candidate]:
        """What is being built: of those that wait, as many as there are builders."""
        return self._candidates(requests.build)[: self._places["build"]]

    @property
    def examining(self) -> Sequence[Candidate]:
        """What is being examined: of those that wait, as many as there are devices."""
        return self._candidates(requests.examine)[: self._places["examine"]]

    def throughput(self, candidates: int, wall_s: float, driver_s: float) -> Throughput:
        """How fast candidates went through, by the seconds that the nodes were at work."""
        wall_s = max(wall_s, 1e-9)
        builders = self._seconds["build"] / (max(1, self._places["build"]) * wall_s)
        device = self._seconds["examine"] / (max(1, self._places["examine"]) * wall_s)
        return Throughput(
            candidates_a_minute=60 * candidates / wall_s,
            builders_busy=builders,
            device_busy=device,
            slowest_busy=min(1.0, builders + device) if self._take_turns else max(builders, device),
            driver_busy=driver_s / wall_s,
        )

    def drop(self) -> None:
        """Cancels what waits, and has the nodes end what runs."""
        if self._dropped.is_set():
            return
        self._dropped.set()
        with self._guard:
            open_ones = list(self._open.values())
            self._open.clear()
        with contextlib.suppress(Exception):  # the scheduler may be gone, and the nodes forget by themselves
            self._connection.client.cancel([each.task for each in open_ones if each.task is not None], force=True)
        for each in open_ones:
            each.future.cancel()
        self._tell_all(requests.forget, self._setup.digest)

    def close(self) -> None:
        """Leaves the cluster."""
        self.drop()
        self._keeper.join()
        self._connection.close()

    def _candidates(self, work: Callable[..., Any]) -> list[Candidate]:
        with self._guard:
            open_ones = list(self._open.values())
        return [each.candidate for each in open_ones if each.work is work and each.candidate is not None]

    def _ask(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Has a device do something that the driver waits for."""
        return self._send(Request(work, (self._setup, *arguments), self._device, FIRST)).result()

    def _tell_all(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Tells all nodes; those that cannot be told forget by themselves."""
        with contextlib.suppress(Exception):
            self._connection.client.run(work, *arguments, on_error="ignore", wait=False)

    def _send(self, request: Request) -> Future[Any]:
        number = next(self._numbers)
        with self._guard:
            self._open[number] = request
        self._submit(number, request)
        return request.future

    def _submit(self, number: int, request: Request) -> None:
        """Gives a request to Dask; to the keeper, if there is no scheduler now."""
        client = self._connection.client
        if client.status != "running":
            self._again.put((number, request))
            return
        only = {"workers": [request.worker], "allow_other_workers": False} if request.worker else {}
        request.task = client.submit(
            request.work,
            *request.arguments,
            key=f"evoflash-{request.work.__name__}-{self._setup.digest[:8]}-{id(self):x}-{number}-{next(self._numbers)}",
            resources=dict(request.resources),
            priority=request.priority,
            pure=False,
            **only,
        )
        request.task.add_done_callback(lambda task: self._done(number, request, task))

    def _done(self, number: int, request: Request, task: Any) -> None:
        """What has become of a task, in a thread of Dask's."""
        if task is not request.task or self._dropped.is_set():
            return
        try:
            if task.status == "finished":
                self._answered(number, request, task.result())
            elif task.status == "error":
                self._failed(number, request, task.exception())
            else:  # cancelled, since the scheduler is gone
                self._again.put((number, request))
        except Exception as error:  # result or scheduler were lost between the task's end and now
            request.deaths += 1
            if request.deaths < DEATHS:
                self._again.put((number, request))
            else:  # an answer that cannot be read will not be readable the next time
                self._settle(number, request, error=error)

    def _answered(self, number: int, request: Request, answer: Answer) -> None:
        if request.work is requests.build:
            self._seconds["build"] += answer.seconds
        elif request.work is requests.examine:
            self._seconds["examine"] += answer.seconds
        error = answer.error
        if error is None:
            self._settle(number, request, value=answer.value)
        elif request.work is requests.begin or request.worker:
            # What a device says of a plan's shapes holds for those like it; one that cannot be compared is not used.
            if request.worker:
                self._send_away(answer, error)
            self._settle(number, request, error=error)
        elif self._send_away(answer, error):
            self._again.put((number, request))
        else:
            self._settle(number, request, error=error)

    def _failed(self, number: int, request: Request, error: BaseException) -> None:
        from distributed.scheduler import KilledWorker

        request.deaths += 1
        lost = isinstance(error, KilledWorker | OSError | TimeoutError) or "lost" in str(error)
        if lost and request.deaths < DEATHS and not request.worker:
            self._again.put((number, request))
        elif lost:
            self._settle(
                number,
                request,
                error=WorkerError(
                    f"workers are lost again and again ({error}); look at their hosts, then go on by `evoflash resume`"
                ),
            )
        else:
            self._settle(number, request, error=error)

    def _settle(self, number: int, request: Request, *, value: Any = None, error: BaseException | None = None) -> None:
        """Makes a future true, once."""
        with self._guard:
            if self._open.pop(number, None) is None:
                return
        if error is not None:
            request.future.set_exception(error)
        else:
            request.future.set_result(value)

    def _send_away(self, answer: Answer, error: EvoflashError) -> bool:
        """Goes on without a worker; not without the last of its kind."""
        with self._guard:
            own = self._with_resource(BUILD), self._with_resource(self._kind)
            if any(set(each) <= {answer.worker} for each in own if answer.worker in each):
                return False
            if answer.worker in self._sent_away:
                return True
            self._sent_away[answer.worker] = str(error)
        self._news.put(f"a worker of {answer.host} is left out: {error}")
        with contextlib.suppress(Exception):  # if the scheduler is gone, the worker is not one of its any more either
            self._connection.client.retire_workers([answer.worker])
        return True

    def _with_resource(self, resource: str) -> dict[str, str]:
        """The workers that have a resource and were not sent away: address -> name."""
        workers = self._connection.workers()
        return {
            address: str(each["name"])
            for address, each in workers.items()
            if resource in each["resources"] and address not in self._sent_away
        }

    def _devices(self) -> dict[str, str]:
        """The workers that hold a device of the search's kind: address -> name."""
        return self._with_resource(self._kind)

    def _keep(self) -> None:
        """Sends requests again, looks for a scheduler that is gone, and at who is there."""
        looked_s = time.monotonic()
        while not self._dropped.is_set():
            with contextlib.suppress(Empty):
                number, request = self._again.get(timeout=0.1)
                if self._connection.client.status != "running" and not self._reconnect():
                    return
                self._submit(number, request)
                continue
            if time.monotonic() - looked_s > LOOK_S:
                with contextlib.suppress(Exception):  # the scheduler may be gone; then the requests come back
                    self._look()
                looked_s = time.monotonic()

    def _look(self) -> None:
        """Counts who is there; nobody for a device or a build for too long ends the search."""
        workers = self._connection.workers()
        free = {address: each for address, each in workers.items() if address not in self._sent_away}
        there = {
            "build": int(sum(each["resources"].get(BUILD, 0) for each in free.values())),
            "examine": sum(1 for each in free.values() if self._kind in each["resources"]),
        }
        for role, count in there.items():
            before = self._places[role]
            word = "builders" if role == "build" else "devices"
            if before and count != before:
                self._news.put(f"the cluster has {count} {word} now, {before} before")
            if count:
                self._alone_since.pop(role, None)
            elif time.monotonic() - self._alone_since.setdefault(role, time.monotonic()) > self._nobody_s:
                self._give_up(
                    WorkerError(f"no worker of the cluster has {word} any more; start some with `evoflash worker`")
                )
        self._places = there
        self._free_pinned(workers)

    def _free_pinned(self, workers: Mapping[str, Any]) -> None:
        """What only a worker could do that is gone, fails."""
        with self._guard:
            pinned = [
                (number, each) for number, each in self._open.items() if each.worker and each.worker not in workers
            ]
        for number, each in pinned:
            self._settle(number, each, error=WorkerError("its worker is lost; start another with `evoflash worker`"))

    def _reconnect(self) -> bool:
        """Waits for a scheduler that is gone; whether it has come back."""
        self._news.put(f"the scheduler {self._connection.address} is gone; waiting for it")
        end = time.monotonic() + self._reconnect_s
        while not self._dropped.is_set() and time.monotonic() < end:
            client = self._connection.client
            if client.status == "running":
                self._news.put("the scheduler is back")
                return True
            if client.status in ("closed", "closing"):
                with contextlib.suppress(WorkerError):
                    self._connection.client = self._connection.connected(2.0)
                    continue
            time.sleep(0.1)
        self._give_up(
            WorkerError(f"the scheduler {self._connection.address} is gone; start it, then go on by `evoflash resume`")
        )
        return False

    def _give_up(self, error: WorkerError) -> None:
        """Ends the search."""
        with self._guard:
            open_ones = list(self._open.items())
        for number, each in open_ones:
            self._settle(number, each, error=error)
