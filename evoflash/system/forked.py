"""Processes that come from a fork server, and the servers of this process."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from typing import IO, Any

from evoflash.system import processes

START_S = 180.0  # importing PyTorch from a cold disk can take a minute
MOST_SERVERS = 2  # that wait with nothing to do


class ForkedProcess:
    """A child of a fork server, which can be asked and waited for like a `subprocess.Popen`."""

    def __init__(self, server: ForkServer, pid: int):
        self.pid = pid
        self._server = server

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""
        return self._server.code_of(self.pid, wait=False)

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        code = self._server.code_of(self.pid, wait=True)
        assert code is not None
        return code


class ForkServer:
    """A fork server for a module, with the environment and the cores that this process has when it is started.

    Raises:
        OSError: when it cannot be started.
    """

    def __init__(self, module: str):
        ours, theirs = socket.socketpair()
        self._guard = threading.RLock()
        self._control = ours
        self._unread = b""
        self._living: set[int] = set()
        self._codes: dict[int, int] = {}
        self._said: dict[str, int] = {}  # by the last request
        self.key = _surroundings(module)
        with theirs:
            command = [sys.executable, "-P", "-m", "evoflash.system.fork_server", module, str(theirs.fileno())]
            with tempfile.TemporaryFile() as output:
                self._process = processes.start(command, pass_fds=[theirs.fileno()], stdout=output, stderr=output)
                self._control.settimeout(START_S)
                try:
                    theirs.close()
                    self._receive("ready")
                except OSError as error:
                    self.close()
                    output.seek(0)
                    lines = output.read()[-4000:].decode(errors="replace").strip().splitlines()
                    raise OSError(error.errno or 0, lines[-1] if lines else str(error)) from None
        self._control.settimeout(None)

    @property
    def is_alive(self) -> bool:
        """Whether it can fork."""
        return self._process.poll() is None

    @property
    def is_idle(self) -> bool:
        """Whether all of its children have ended."""
        with self._guard:
            for pid in tuple(self._living):
                self.code_of(pid, wait=False)
            return not self._living

    def start(self, argument: str, connection: socket.socket, output: IO[bytes]) -> ForkedProcess:
        """Forks a child that calls the module's `serve` with a connection.

        Args:
            output: what it prints goes here.

        Raises:
            OSError: when the server is gone.
        """
        request = json.dumps({"argument": argument, "folder": os.getcwd()}).encode()
        with self._guard:
            socket.send_fds(self._control, [request], [connection.fileno(), output.fileno()])
            pid = self._receive("started")
            self._living.add(pid)
        return ForkedProcess(self, pid)

    def code_of(self, pid: int, wait: bool) -> int | None:
        """The exit code of a child; None while it lives. What a server that was killed cannot say counts as killed."""
        while True:
            with self._guard:
                try:
                    self._read_all()
                except OSError:
                    self._codes.update(dict.fromkeys(self._living, -signal.SIGKILL))
                    self._living.clear()
                if pid in self._codes or not wait:
                    return self._codes.get(pid)
            time.sleep(0.002)

    def close(self) -> None:
        """Ends the server; its children end with it."""
        self._control.close()
        processes.kill(self._process)
        self._process.wait()

    def _read_all(self) -> None:
        """Takes what the server has said, without waiting.

        Raises:
            OSError: when it is gone.
        """
        self._control.setblocking(False)
        try:
            while True:
                self._take(self._control.recv(4096))
        except BlockingIOError:
            pass
        finally:
            self._control.setblocking(True)

    def _receive(self, wanted: str) -> int:
        """Waits for a message, and returns its number."""
        self._said.clear()
        while wanted not in self._said:
            self._take(self._control.recv(4096))
        return self._said[wanted]

    def _take(self, data: bytes) -> None:
        if not data:
            raise ConnectionResetError("the fork server has ended")
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            message: dict[str, Any] = json.loads(line)
            if "ended" in message:
                self._codes[message["ended"]] = message["code"]
                self._living.discard(message["ended"])
            else:
                self._said |= message


_servers: list[ForkServer] = []
_guard = threading.Lock()


def start(module: str, argument: str, connection: socket.socket, output: IO[bytes]) -> ForkedProcess:
    """A process that has a module imported, and calls its `serve(fd, argument, parent)`.

    The first one waits for the import. Others are forked, as long as the environment and the cores of this process
    stay the same: what a library has read of them when it was imported would be out of date.

    Raises:
        OSError: when no process can be started.
    """
    with _guard:
        key = _surroundings(module)
        for server in tuple(_servers):
            if not server.is_alive or (server.key != key and server.is_idle and len(_servers) >= MOST_SERVERS):
                _servers.remove(server)
                server.close()
        server = next((each for each in _servers if each.key == key), None)
        if server is None:
            server = ForkServer(module)
            _servers.append(server)
    return server.start(argument, connection, output)


def _surroundings(module: str) -> str:
    """What a library may read when it is imported."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return json.dumps([module, sorted(processes.environment().items()), cores])


@atexit.register
def _close() -> None:
    while _servers:
        with contextlib.suppress(OSError):
            _servers.pop().close()
