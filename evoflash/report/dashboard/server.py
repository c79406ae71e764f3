"""The web server: optuna-dashboard on a port of this machine."""

from __future__ import annotations

import contextlib
import threading
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from evoflash.errors import EvoflashError, UsageError
from evoflash.report.dashboard.studies import Studies

PORT = 8080
EVERY_S = 3.0  # between two looks at the database


class _ThreadedServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_address = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Logs no request."""


class Server:
    """Serves studies until it is closed, and follows the runs meanwhile.

    Args:
        port: None for `PORT`, or any that is free if that is taken.

    Raises:
        UsageError: for a port that is taken, or a host that is not this machine.
    """

    def __init__(self, studies: Studies, host: str, port: int | None):
        from optuna_dashboard import wsgi

        self._studies = studies
        self._http = _bound(wsgi(studies.storage), host, port)
        self._ended = threading.Event()
        self._error: EvoflashError | None = None
        self._follower = threading.Thread(target=self._follow, name="dashboard", daemon=True)
        self.url = f"http://{host}:{self._http.server_port}/"

    def __enter__(self) -> Self:
        self._follower.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._http.server_close()
        self._follower.join()

    def serve(self) -> None:
        """Answers requests until the database cannot be read any more.

        Raises:
            StorageError: then.
        """
        self._http.serve_forever()
        if self._error is not None:
            raise self._error

    def _follow(self) -> None:
        """The database is read by this thread alone."""
        while not self._ended.is_set():
            try:
                self._studies.refresh()
            except EvoflashError as error:
                self._error = error
                self._http.shutdown()
                return
            self._ended.wait(EVERY_S)


def _bound(app: Any, host: str, port: int | None) -> WSGIServer:
    def bound(number: int) -> WSGIServer:
        return make_server(host, number, app, server_class=_ThreadedServer, handler_class=_Handler)

    if port is None:
        with contextlib.suppress(OSError):  # it is taken, or the second attempt says why not
            return bound(PORT)
    try:
        return bound(port or 0)
    except OSError as error:
        raise UsageError(
            f"{host}:{port or PORT} cannot be served: {error.strerror or error}; choose another --port or --host"
        ) from None
