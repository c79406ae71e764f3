"""What a search on a cluster may be told, and what it says where that means nothing."""

import sys

import pytest

from evoflash import config
from evoflash.api.cluster import join
from evoflash.errors import MissingError, UsageError


@pytest.mark.parametrize(
    ("changes", "devices", "words"),
    [
        ({"scheduler": "dask://host:1"}, "2", r"--devices means nothing for dask://host:1"),
        ({"scheduler": "slurm"}, "all", r"--devices all is no number of Slurm's jobs"),
        ({"scheduler": "local", "arch": "sm_90a"}, None, r"--arch means nothing on a cluster"),
        ({"scheduler": "http://host"}, None, r"is no scheduler; write dask://HOST:PORT, slurm or local"),
    ],
)
def test_what_means_nothing_is_said(changes, devices, words):
    with pytest.raises(UsageError, match=words):
        join(config.Settings(**changes), devices, print)


def test_the_extra_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingError, match=r"pip install 'evoflash\[cluster\]'"):
        join(config.Settings(scheduler="dask://host:1"), None, print)
