"""Addresses and certificates of a cluster."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evoflash.errors import MissingError, UsageError

if TYPE_CHECKING:
    from distributed import Security

LOCALHOST = "127.0.0.1"
PORT = 8786  # Dask's own


@dataclass(frozen=True)
class Certificates:
    """The files of TLS, in PEM format, which are those of `dask scheduler`.

    Attributes:
        ca_file: of the authority that has signed everybody's.
        cert, key: this host's own.
    """

    ca_file: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __bool__(self) -> bool:
        return any((self.ca_file, self.cert, self.key))

    def security(self) -> Security:
        """As Dask wants it, for whichever role; without certificates what Dask's own configuration says.

        Raises:
            UsageError: when a file is missing or no certificate.
        """
        from distributed import Security

        if not self:
            return Security()
        if self.ca_file is None or self.cert is None:
            raise UsageError("TLS needs an authority and a certificate; give --tls-ca-file and --tls-cert")
        own: dict[str, Any] = {"tls_ca_file": str(self.ca_file), "require_encryption": True}
        for role in ("client", "worker", "scheduler"):
            own |= {f"tls_{role}_cert": str(self.cert), f"tls_{role}_key": str(self.key or self.cert)}
        security = Security(**own)
        try:
            security.get_connection_args("client")
        except OSError as error:
            raise UsageError(
                f"the certificates cannot be used ({error}); check --tls-ca-file, --tls-cert and --tls-key"
            ) from None
        return security

    @property
    def options(self) -> list[str]:
        """Those of a command, to pass them on."""
        named: Mapping[str, Path | None] = {"ca-file": self.ca_file, "cert": self.cert, "key": self.key}
        return [word for name, path in named.items() if path is not None for word in (f"--tls-{name}", str(path))]


def address_of(text: str, certificates: Certificates) -> str:
    """What Dask calls a scheduler: dask://HOST:PORT or HOST:PORT -> tcp://HOST:PORT, or tls:// with certificates.

    Raises:
        UsageError: for anything else.
    """
    scheme, _, place = text.rpartition("://")
    if scheme not in ("", "dask", "tcp", "tls") or not place or "/" in place:
        raise UsageError(f"{text} is no scheduler; write dask://HOST:PORT, slurm or local")
    host, colon, port = place.rpartition(":") if not place.endswith("]") else (place, "", "")
    if colon and not port.isdigit():
        raise UsageError(f"{text} has no port; write dask://HOST:PORT")
    scheme = "tls" if certificates or scheme == "tls" else "tcp"
    return f"{scheme}://{host}:{port}" if colon else f"{scheme}://{place}:{PORT}"


def host_of(address: str) -> str:
    """The host of an address."""
    return address.partition("://")[2].rpartition(":")[0].strip("[]")


def is_this_machine(host: str) -> bool:
    """Whether an address is reached by this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        return ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
    except (OSError, ValueError):
        return False


def require_distributed() -> None:
    """Raises MissingError without the extra `cluster`."""
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise MissingError(f"a cluster needs distributed ({error}); pip install 'evoflash[cluster]'") from None


def quieten() -> None:
    """Keeps Dask from logging, and from asking GPUs.

    It logs each worker that goes, and each connection that breaks; what matters is told in evoflash's words. Twice a
    second it would ask a GPU for its use, while kernels are timed there.
    """
    import distributed  # noqa: F401 - sets the levels of its loggers when it is imported
    from dask import config

    config.set({"distributed.diagnostics.nvml": False})

    for name in ("distributed", *(each for each in logging.root.manager.loggerDict if each.startswith("distributed."))):
        logging.getLogger(name).setLevel(logging.CRITICAL)
