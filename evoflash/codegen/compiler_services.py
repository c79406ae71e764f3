"""Compilers that stay loaded between builds: processes that each serve one build at a time."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

from evoflash.system import processes
from evoflash.targets.base import Service

BUILDS = 300  # after which a compiler is replaced, whatever memory it has kept


class CompilerServices:
    """Starts compilers as builds need them; a build that finds an idle one takes it.

    Args:
        memory_bytes: address space of each.
    """

    def __init__(self, memory_bytes: int):
        self._memory_bytes = memory_bytes
        self._guard = threading.Lock()
        self._idle: list[_Compiler] = []
        self._busy: set[_Compiler] = set()
        self._stopped = False

    def call(self, service: Service, folder: Path, deadline_s: float) -> tuple[str, int | None]:
        """Runs a step in a folder; its output and exit code, or no code if the deadline has passed.

        Raises:
            CancelledError: when `stop` was called.
            OSError: when the compiler cannot be started.
        """
        compiler = self._take(service.program)
        try:
            answer = compiler.call([str(folder.absolute()), *service.arguments], deadline_s)
        finally:
            self._give_back(compiler)
        if self._stopped:
            raise CancelledError
        return answer

    def stop(self) -> None:
        """Kills all of them. Calls in progress, and later ones, raise CancelledError."""
        with self._guard:
            self._stopped = True
            compilers = [*self._idle, *self._busy]
            self._idle.clear()
        for each in compilers:
            each.kill()

    def _take(self, program: tuple[str, ...]) -> _Compiler:
        with self._guard:
            if self._stopped:
                raise CancelledError
            found = next((each for each in reversed(self._idle) if each.program == program), None)
            if found is not None:
                self._idle.remove(found)
            else:
                found = _Compiler(program, self._memory_bytes)
            self._busy.add(found)
            return found

    def _give_back(self, compiler: _Compiler) -> None:
        with self._guard:
            self._busy.discard(compiler)
            if compiler.is_alive and compiler.builds < BUILDS and not self._stopped:
                self._idle.append(compiler)
                return
        compiler.kill()


class _Compiler:
    """One process."""

    def __init__(self, program: tuple[str, ...], memory_bytes: int):
        self.program = program
        self.builds = 0
        self.is_alive = True
        self._socket, theirs = socket.socketpair()
        try:
            # A limit beside the deadline of a build, in case a template unrolls without end.
            limited = f'ulimit -c 0; ulimit -v {memory_bytes // 1024}; exec "$0" "$@"'
            self._process = processes.start(
                ["sh", "-c", limited, *program, str(theirs.fileno())],
                variables={"LC_ALL": "C"},
                pass_fds=[theirs.fileno()],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()

    def call(self, request: list[str], deadline_s: float) -> tuple[str, int | None]:
        """The output and exit code; a compiler that has died gives the signal's, as a shell does."""
        self.builds += 1
        end = time.monotonic() + deadline_s
        answer = b""
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while not answer.endswith(b"\n"):
                self._socket.settimeout(max(0.001, end - time.monotonic()))
                received = self._socket.recv(1 << 16)
                if not received:
                    raise ConnectionResetError
                answer += received
        except TimeoutError:
            self.kill()
            return "", None
        except OSError:
            self.is_alive = False
            code = self._process.wait()
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return f"error: the compiler died by {how}\n", code or 1
        code, log = json.loads(answer)
        return log, code

    def kill(self) -> None:
        """Ends the process and whatever it started."""
        self.is_alive = False
        processes.kill(self._process)
        self._process.wait()
        self._socket.close()
