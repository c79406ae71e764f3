"""A PostgreSQL server of the tests' own: in a temporary folder, on a free port, gone with the process that began it."""

from __future__ import annotations

import ctypes
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

WAIT_S = 60
OWNER, PASSWORD = "evoflash", "correct horse"  # of the server
SETTINGS = {"fsync": "off", "max_connections": "30", "shared_buffers": "16MB"}
PR_SET_PDEATHSIG = 1


def until(condition: Callable[[], bool]) -> None:
    """Waits for what must happen; fails when it takes too long."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def program(name: str) -> str | None:
    """One of the server's programs, which Debian keeps outside PATH."""
    known = [*sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True), shutil.which(name)]
    return next((each for each in known if each is not None), None)


def why_not() -> str | None:
    """Why no server can be started here, or None."""
    missing = [name for name in ("initdb", "postgres") if program(name) is None]
    return f"no {' and no '.join(missing)} here; apt-get install postgresql" if missing else None


class Server:
    """A server that listens on 127.0.0.1, where it wants a password, and on a Unix socket, where it wants none."""

    def __init__(self) -> None:
        # A Unix socket's path has room for 107 characters, which pytest's own folders can exceed.
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._user = _unprivileged()
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        words = self.folder / "password"
        words.write_text(PASSWORD)
        words.chmod(0o644)
        options = ["--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C"]
        self._run("initdb", f"--pgdata={self.folder / 'data'}", f"--username={OWNER}", f"--pwfile={words}", *options)
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Starts it, also after a stop; returns when it answers."""
        settings = SETTINGS | {"port": str(self.port), "unix_socket_directories": str(self.folder)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [str(program("postgres")), "-D", str(self.folder / "data"), *options],
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_parent,
                **self._as_user(),
            )
        end = time.monotonic() + WAIT_S
        while True:
            try:
                self.connect("postgres").close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < end, (self.folder / "log").read_text()
                time.sleep(0.02)

    def stop(self) -> None:
        """Ends it at once, with all its connections."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(WAIT_S)

    def url(self, name: str, user: str = OWNER) -> str:
        """A database, by the Unix socket."""
        return f"postgresql+psycopg://{user}@/{name}?host={self.folder}&port={self.port}"

    def url_by_network(self, name: str, password: str | None = PASSWORD) -> str:
        """A database, by 127.0.0.1."""
        secret = "" if password is None else f":{password.replace(' ', '%20')}"
        return f"postgresql+psycopg://{OWNER}{secret}@127.0.0.1:{self.port}/{name}"

    def connect(self, name: str) -> psycopg.Connection:
        """A connection that commits each statement."""
        return psycopg.connect(host=str(self.folder), port=self.port, user=OWNER, dbname=name, autocommit=True)

    def create(self, name: str, template: str = "template0") -> str:
        """Creates a database; returns its URL."""
        with self.connect("postgres") as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            )
        return self.url(name)

    def _run(self, name: str, *arguments: str) -> None:
        command = [str(program(name)), *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, **self._as_user())
        assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}"

    def _as_user(self) -> dict:
        mine = {"cwd": self.folder}
        if self._user is None:
            return mine
        return mine | {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom the server runs as, since it refuses to be root; None: as this process."""
    if os.geteuid() != 0:
        return None
    known = {each.pw_name: each for each in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _end_with_parent() -> None:
    """Has the kernel stop the server when this process ends in any way."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)
