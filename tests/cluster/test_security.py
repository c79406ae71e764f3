"""Where a cluster listens, and its certificates."""

import shutil
import subprocess

import pytest

from evoflash import targets
from evoflash.cluster.connection import Connection
from evoflash.cluster.security import Certificates, address_of, is_this_machine
from evoflash.cluster.worker import Place
from evoflash.errors import UsageError, WorkerError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("dask://10.0.0.1:8787", "tcp://10.0.0.1:8787"),
        ("10.0.0.1:8787", "tcp://10.0.0.1:8787"),
        ("tls://host:1", "tls://host:1"),
        ("dask://host", "tcp://host:8786"),
        ("dask://[::1]:7", "tcp://[::1]:7"),
    ],
)
def test_addresses(text, address):
    assert address_of(text, Certificates()) == address


@pytest.mark.parametrize("text", ["http://host:1", "dask://", "dask://host:port", "dask://host:1/x", ""])
def test_what_is_no_address(text):
    with pytest.raises(UsageError, match="dask://HOST:PORT"):
        address_of(text, Certificates())


def test_a_worker_listens_on_this_machine_alone_unless_it_is_told_where():
    assert is_this_machine("127.0.0.1")
    assert is_this_machine("localhost")
    assert not is_this_machine("10.0.0.1")
    assert Place("tcp://127.0.0.1:1", "n", 1).bound() == {"host": "127.0.0.1"}
    assert Place("tcp://10.0.0.1:1", "n", 1, host="10.0.0.2").bound() == {"host": "10.0.0.2"}
    assert Place("tcp://10.0.0.1:1", "n", 1, interface="ib0").bound() == {"interface": "ib0"}
    with pytest.raises(UsageError, match="--host, or --interface"):
        Place("tcp://10.0.0.1:1", "n", 1).bound()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A certificate that is its own authority."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here; apt-get install openssl")
    folder = tmp_path_factory.mktemp("certificates")
    cert, key = folder / "cert.pem", folder / "key.pem"
    own = ["-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=127.0.0.1", "-days", "2"]
    subprocess.run(["openssl", "req", "-x509", *own], check=True, capture_output=True)
    return Certificates(cert, cert, key)


def test_certificates_are_passed_through_and_who_has_none_is_refused(certificates, monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setattr("evoflash.cluster.connection.CONNECT_S", 1.0)
    with LocalCluster(
        n_workers=0, host="127.0.0.1", dashboard_address=None, security=certificates.security()
    ) as cluster:
        place = cluster.scheduler_address.removeprefix("tls://")
        assert cluster.scheduler_address.startswith("tls://")
        connection = Connection(f"dask://{place}", certificates)
        assert connection.address == f"tls://{place}"
        assert connection.workers() == {}
        connection.close()
        with pytest.raises(WorkerError, match="there is no scheduler at tcp://"):
            Connection(f"dask://{place}")


def test_certificates_that_are_none(tmp_path, certificates):
    with pytest.raises(UsageError, match="give --tls-ca-file and --tls-cert"):
        Certificates(cert=certificates.cert).security()
    with pytest.raises(UsageError, match=r"cannot be used .* check --tls-ca-file"):
        Certificates(tmp_path / "none.pem", certificates.cert, certificates.key).security()
    assert certificates.options[:2] == ["--tls-ca-file", str(certificates.ca_file)]


def test_a_processor_is_named_for_other_hosts_to_build_for():
    own = targets.detect("cpu")
    portable = own.portable()
    assert "-march=native" in own.steps()[0].command
    if "-march=" not in portable.processor or portable == own:
        pytest.skip("this compiler does not say what -march=native is")
    assert "-march=native" not in portable.steps()[0].command
    assert "-march=" in portable.steps()[0].command
    assert portable.toolchain_digest != own.toolchain_digest
    assert portable.portable() == portable
