"""A fork server: a process that has imported a slow module once, and forks children that need it.

To import PyTorch takes seconds, to fork a process that has it takes milliseconds.
`python -m evoflash.system.fork_server MODULE FD` imports MODULE and serves the socket FD until the other end is closed.
Each request brings a socket and a file for output; a child takes them, leads a session of its own and calls
`MODULE.serve(fd, argument, parent)`. The server says the number of the child, and later how it ended. A child is as
fresh as a new process: the server has imported, and done nothing else.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from types import ModuleType

MOST_BYTES = 65536  # of a request


def main() -> None:
    """Entry point of the process."""
    module = importlib.import_module(sys.argv[1])
    for each in (signal.SIGINT, signal.SIGTERM):  # the driver's to handle; it closes the socket
        signal.signal(each, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[2]))
    children: dict[int, int] = {}  # by the descriptor that tells when one has ended
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        _tell(control, {"ready": os.getpid()})
        while True:
            for key, _ in selector.select():
                if key.fileobj is control:
                    data, descriptors, _, _ = socket.recv_fds(control, MOST_BYTES, 2)
                    if not data:
                        return
                    pid = _fork(module, control, json.loads(data), *descriptors)
                    watched = os.pidfd_open(pid)
                    children[watched] = pid
                    selector.register(watched, selectors.EVENT_READ)
                    _tell(control, {"started": pid})
                else:
                    assert isinstance(key.fileobj, int)
                    selector.unregister(key.fileobj)
                    pid = children.pop(key.fileobj)
                    os.close(key.fileobj)
                    _, status = os.waitpid(pid, 0)
                    _tell(control, {"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _tell(control: socket.socket, message: dict[str, int]) -> None:
    with contextlib.suppress(OSError):  # the driver is gone, as the next read finds out
        control.sendall(json.dumps(message).encode() + b"\n")


def _fork(module: ModuleType, control: socket.socket, request: dict[str, str], connection: int, output: int) -> int:
    """Forks a child that serves a connection; returns its number."""
    server = os.getpid()
    pid = os.fork()
    if pid:
        os.close(connection)
        os.close(output)
        return pid
    try:
        control.close()
        os.setsid()
        for stream in (1, 2):
            os.dup2(output, stream)
        os.close(output)
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        os.chdir(request["folder"])
        module.serve(connection, request["argument"], server)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
