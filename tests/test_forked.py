"""Processes of a fork server: how they end, and what they have of the process that asked for them."""

from __future__ import annotations

import ast
import os
import signal
import socket
import tempfile
from pathlib import Path

import pytest

from evoflash.system import forked, processes

SERVED = """
import os, signal, socket, sys
IMPORTED_BY = os.getpid()

def serve(descriptor, argument, parent):
    connection = socket.socket(fileno=descriptor)
    words = [argument, os.getcwd(), os.environ.get("OWN", ""), os.getsid(0) == os.getpid(), parent == IMPORTED_BY]
    connection.sendall(repr(words).encode())
    print("printed")
    if argument == "abort":
        os.abort()
    if argument == "raise":
        raise ValueError("mine")
    if argument == "exit":
        sys.exit(7)
    connection.recv(1)
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    (folder / "served.py").write_text(SERVED)
    (folder / "fails.py").write_text("import no_such_module\n")
    return folder


@pytest.fixture(autouse=True)
def surroundings(path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{path}{os.pathsep}{Path(__file__).parent.parent}")


class Child:
    def __init__(self, argument: str):
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the test
        self.connection, theirs = socket.socketpair()
        with theirs:
            self.process = forked.start("served", argument, theirs, self.output)

    def words(self) -> list:
        return ast.literal_eval(self.connection.recv(4096).decode())

    def ended(self) -> tuple[int, str]:
        code = self.process.wait()
        self.output.seek(0)
        return code, self.output.read().decode()


def test_a_child_leads_a_session_in_the_folder_of_who_asked_and_ends_when_it_is_done(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    child = Child("wait")
    assert child.words() == ["wait", str(tmp_path), "", True, True]
    assert child.process.poll() is None
    child.connection.close()
    assert child.ended() == (0, "printed\n")
    assert child.process.poll() == 0


@pytest.mark.parametrize(
    ("argument", "code", "printed"),
    [("abort", -signal.SIGABRT, ""), ("raise", 1, "ValueError: mine"), ("exit", 7, "printed")],
)
def test_how_a_child_ended(argument, code, printed):
    child = Child(argument)
    child.words()
    found, lines = child.ended()
    assert found == code
    assert printed in lines


def test_a_child_can_be_killed_with_its_session():
    child = Child("wait")
    child.words()
    processes.kill(child.process)
    assert child.process.wait() == -signal.SIGKILL


def test_children_are_forked_by_one_server_until_the_environment_changes(monkeypatch):
    first, second = Child("wait"), Child("wait")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    third = Child("wait")
    servers = [_parent(each.process.pid) for each in (first, second, third)]
    assert servers[0] == servers[1] != servers[2]
    for each in (first, second, third):
        each.words()
        each.connection.close()
        assert each.process.wait() == 0


def test_when_the_server_is_killed_its_children_count_as_killed_and_the_next_one_has_another():
    child = Child("wait")
    child.words()
    server = _parent(child.process.pid)
    os.kill(server, signal.SIGKILL)
    assert child.process.wait() == -signal.SIGKILL
    other = Child("wait")
    assert _parent(other.process.pid) != server
    other.words()
    other.connection.close()
    assert other.process.wait() == 0
    child.connection.close()


def test_a_module_that_cannot_be_imported_is_said():
    ours, theirs = socket.socketpair()
    missing = pytest.raises(OSError, match="No module named 'no_such_module'")
    with ours, theirs, tempfile.TemporaryFile() as output, missing:
        forked.start("fails", "", theirs, output)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
