"""Workers that are killed, slow or full, and a scheduler that is killed: the same search, every candidate once."""

import signal
import threading
from collections import Counter

import psutil
import pytest

from evoflash import targets
from evoflash.cluster.connection import Connection
from evoflash.cluster.dask_scheduler import DaskScheduler
from evoflash.core.status import Status
from evoflash.errors import StorageError, WorkerError
from evoflash.search import Search
from evoflash.store import RunStore
from tests.cluster.processes import Processes, until
from tests.faults import command as command_line
from tests.helpers import TINY, Quiet, plan
from tests.made_up import MadeUpToolchain, made_up_search, story

BUDGET = 60


@pytest.fixture(scope="module")
def target():
    return targets.detect("cpu")


@pytest.fixture(scope="module")
def wanted(target):
    return plan(target, "tiny", TINY, budget=BUDGET, strategy="random", window=12, finalists=2)


@pytest.fixture(scope="module")
def whole(target, wanted, tmp_path_factory):
    """The story of the search on one machine."""
    with RunStore.open(str(tmp_path_factory.mktemp("whole") / "runs.db"), write=True) as store:
        search = made_up_search([wanted], target, MadeUpToolchain(), store, Quiet())
        search.run()
        return story(search)


class Eventful(Quiet):
    """Does things after so many results."""

    def __init__(self, events):
        super().__init__()
        self.events = dict(events)
        self.counts: Counter[int] = Counter()

    def finished(self, shape, candidate, evaluation, is_best):
        super().finished(shape, candidate, evaluation, is_best)
        self.counts[candidate.index] += 1
        if (event := self.events.pop(len(self.counts), None)) is not None:
            event()


def listening(cluster) -> set[str]:
    """The addresses at which anything of the cluster listens."""
    own = [psutil.Process(each.pid) for each in (*cluster.nodes.values(), cluster.scheduler) if each.poll() is None]
    processes = [each for one in own for each in (one, *one.children(recursive=True))]
    sockets = [each for process in processes for each in process.net_connections("inet")]
    return {each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN}


@pytest.fixture
def cluster(tmp_path):
    with Processes(tmp_path) as processes:
        yield processes


def searched(cluster, wanted, target, nodes: int, events=(), **options):
    """A search that begins when so many nodes are there; the search, and what was told of it."""
    connection = Connection(cluster.address)
    until(lambda: len(connection.devices("cpu")) >= nodes)
    progress = Eventful(events)
    with RunStore.open(str(cluster.folder / "runs.db"), write=True) as store:
        scheduler = DaskScheduler(connection, [wanted], target, **options)
        search = Search([wanted], target, scheduler, store, progress)
        search.run()
        return story(search), progress, store.recorded(1)


def test_nodes_that_are_killed_slow_or_full_and_a_scheduler_that_is_killed(cluster, wanted, target, whole):
    for name, how in {"steady": {}, "slow-and-full": {"slow": 10, "full": 8}, "doomed": {}}.items():
        cluster.start_node(name, log=str(cluster.folder / "examined"), **how)

    def restart():
        assert listening(cluster) == {"127.0.0.1"}
        cluster.kill_scheduler()
        threading.Timer(0.5, cluster.start_scheduler).start()

    found, progress, recorded = searched(
        cluster, wanted, target, 3, {15: lambda: cluster.nodes["doomed"].kill(), 35: restart}
    )
    assert found == whole
    assert [one.index for one, _ in recorded] == list(range(BUDGET))
    assert set(progress.counts.values()) == {1}
    assert any(evaluation.device.endswith("/cpu:0") for _, evaluation in recorded)
    told = " ".join(progress.notes)
    for words in ("No space left on device", "is left out", "is gone; waiting for it", "the scheduler is back"):
        assert words in told
    assert "No space left on device" not in str([evaluation.reason for _, evaluation in recorded])
    assert [path for path in cluster.folder.glob("*/adopted") if path.read_text()]  # libraries travelled
    until(lambda: "is gone; looking for it" in cluster.said("steady"))


@pytest.mark.long  # half a minute: proposals that follow from results
def test_proposals_do_not_depend_on_who_is_lost(cluster, target, tmp_path):
    more = {"window": 12, "finalists": 40, "finals_on": "each"}
    wanted = plan(target, "tiny", TINY, budget=120, strategy="evolution", **more)
    with RunStore.open(str(tmp_path / "whole.db"), write=True) as store:
        search = made_up_search([wanted], target, MadeUpToolchain(), store, Quiet())
        search.run()
        whole = story(search)
    for name in ("one", "two", "three"):
        cluster.start_node(name)
    events = {30: lambda: cluster.nodes["one"].kill(), 60: lambda: cluster.nodes["two"].kill()}
    events[90] = lambda: cluster.start_node("four")
    found, progress, _ = searched(cluster, wanted, target, 3, events)
    assert found == whole
    assert set(progress.counts.values()) == {1}
    with RunStore.open(str(cluster.folder / "runs.db")) as store:
        finals = store.finals(1)
    assert finals is not None
    held = [finals, *finals.elsewhere]
    assert len(held) == 2  # on those that are left
    assert all(each.conditions.device.endswith("/cpu:0") and each.finalists for each in held)


@pytest.mark.long  # one more search
def test_the_last_node_that_is_full_ends_the_search_which_another_one_resumes(cluster, wanted, target, whole):
    cluster.start_node("full", full=30)
    with pytest.raises(StorageError, match="No space left on device"):
        searched(cluster, wanted, target, 1)
    with RunStore.open(str(cluster.folder / "runs.db")) as store:
        assert store.run().status == "failed"
        assert 0 < store.run().candidates < BUDGET
    cluster.nodes.pop("full").kill()
    cluster.start_node("empty")
    connection = Connection(cluster.address)
    until(lambda: len(connection.devices("cpu")) >= 1)
    with RunStore.open(str(cluster.folder / "runs.db"), write=True) as store:
        search = Search([wanted], target, DaskScheduler(connection, [wanted], target), store, Quiet(), [1])
        search.run()
        assert story(search) == whole


@pytest.mark.long  # one more search
def test_a_scheduler_that_does_not_come_back_ends_the_search(cluster, wanted, target):
    cluster.start_node("node")
    with pytest.raises(WorkerError, match=r"the scheduler tcp://.* is gone; start it, then .*evoflash resume"):
        searched(cluster, wanted, target, 1, {20: cluster.kill_scheduler}, reconnect_s=0.5)
    with RunStore.open(str(cluster.folder / "runs.db")) as store:
        assert store.run().candidates >= 20


def test_nobody_at_all_is_said_by_name(monkeypatch):
    monkeypatch.setattr("evoflash.cluster.connection.CONNECT_S", 0.2)
    with pytest.raises(WorkerError, match=r"there is no scheduler at tcp://127\.0\.0\.1:1 .*dask scheduler"):
        Connection("dask://127.0.0.1:1").close()


@pytest.mark.long  # a minute: real kernels, whose times differ from run to run, so that only verdicts are compared
@pytest.mark.parametrize("fault", ["none", "worker", "scheduler"])
def test_real_kernels_on_two_workers(cluster, target, fault):
    wanted = plan(target, "tiny", TINY, budget=16, strategy="random", window=6, finalists=2, rivals=())
    for name in ("one", "two"):
        cluster.start_worker(name, "--target", "cpu", "--jobs", "1")

    def restart():
        cluster.kill_scheduler()
        cluster.start_scheduler()

    events = {"none": {}, "worker": {5: lambda: cluster.nodes["two"].kill()}, "scheduler": {5: restart}}[fault]
    _, progress, recorded = searched(cluster, wanted, target.portable(), 2, events)
    assert [one.index for one, _ in recorded] == list(range(16))
    assert set(progress.counts.values()) == {1}
    assert {evaluation.status for _, evaluation in recorded} <= {Status.OK, Status.DUPLICATE}
    with RunStore.open(str(cluster.folder / "runs.db")) as store:
        assert store.run().status == "done"
        assert store.finals(1).winner is not None


@pytest.mark.long  # a minute: the command, with finals
def test_the_command_searches_on_a_scheduler_and_a_worker_of_its_own(tmp_path):
    first = command_line.search(
        tmp_path,
        "--scheduler",
        "local",
        "--budget",
        "100",
        "--baseline",
        "none",
        EVOFLASH_CALLS="0",
        EVOFLASH_REPORT="0",
    )
    first.until(lambda: len(first.events()) >= 3)
    first.kill()
    until(lambda: not command_line.processes_of(tmp_path))  # the worker and its kernels have ended with the driver
    with RunStore.open(str(tmp_path / "runs.db")) as store:
        before = store.recorded(1)
        assert store.run(1).status == "interrupted"
    second = command_line.Run(tmp_path, "resume", "--scheduler", "local", "--events")
    second.until(lambda: second.events())
    second.process.send_signal(signal.SIGINT)
    assert second.end() == 130
    with RunStore.open(str(tmp_path / "runs.db")) as store:
        after = dict(store.recorded(1))
    assert all(after[candidate] == evaluation for candidate, evaluation in before)
    assert len(after) > len(before)
