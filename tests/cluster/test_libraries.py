"""Libraries travel by the digest of their content, and are cached where they arrive."""

from dataclasses import replace

import pytest

from evoflash import targets
from evoflash.cluster import node, requests
from evoflash.cluster.node import Node
from evoflash.cluster.values import RemoteBuild, Setup, kind_of
from evoflash.codegen.source import Source
from evoflash.codegen.toolchain import Toolchain
from tests.helpers import TINY, plan

SOURCE = Source('extern "C" int answer() { return 42; }\n', "c++", max_spill_bytes=8)


@pytest.fixture(scope="module")
def target():
    return targets.detect("cpu")


@pytest.fixture(scope="module")
def built(target, tmp_path_factory):
    build = Toolchain(target, tmp_path_factory.mktemp("there")).build(SOURCE)
    assert build.library is not None
    return build


@pytest.fixture
def elsewhere(built):
    """The same build, as another host tells of it."""
    fields = {name: getattr(built, name) for name in type(built).__dataclass_fields__}
    return RemoteBuild(**{**fields, "library": built.library.with_name("not here.so")}, origin="tcp://there:1")


def test_a_library_is_taken_over_once(target, built, tmp_path):
    toolchain = Toolchain(target, tmp_path / "here")
    assert toolchain.known(SOURCE) is None
    adopted = toolchain.adopt(SOURCE, built, built.library.read_bytes())
    assert adopted.library.is_relative_to(tmp_path / "here")
    assert adopted.is_intact
    assert adopted.report == built.report
    assert toolchain.known(SOURCE).library == adopted.library


def test_what_is_not_what_was_built_is_not_taken_over(target, built, tmp_path):
    adopted = Toolchain(target, tmp_path / "here").adopt(SOURCE, built, b"something else")
    assert adopted.is_intact
    assert not adopted.report.cached  # it was built
    assert adopted.max_spill_bytes == 8


@pytest.mark.parametrize("origin", ["there", "gone"])
def test_a_node_fetches_what_it_has_not_and_builds_what_it_cannot_fetch(
    target, built, elsewhere, tmp_path, monkeypatch, origin
):
    asked = []

    def fetched(served, build):
        asked.append(build.origin)
        return built.library.read_bytes() if origin == "there" else None

    monkeypatch.setattr(requests, "_fetched", fetched)
    here = Node(tmp_path / "here", {"device": target}, take_turns=True)
    monkeypatch.setattr(node, "_here", here)
    served = here.serve(Setup.of([plan(target, "tiny", TINY)], target, 60.0))
    local = requests._local(served, elsewhere, SOURCE)
    assert local.is_intact
    assert local.library.is_relative_to(tmp_path / "here")
    assert local.max_spill_bytes == 8
    assert requests._local(served, elsewhere, SOURCE).library == local.library
    assert asked == ["tcp://there:1"]
    assert here.library(local.report.binary_digest) == built.library.read_bytes()
    assert here.library("0" * 64) is None
    here.close()


def test_devices_are_alike_by_what_they_are(target):
    assert kind_of(target) == kind_of(target.portable()) == kind_of(replace(target, debug=True))
    assert kind_of(target) != kind_of(replace(target, device="another"))
    assert kind_of(target) != kind_of(replace(target, facts={**target.facts, "l2_bytes": 1}))


def test_a_node_keeps_few_searches_ready(target, tmp_path):
    here = Node(tmp_path, {"device": target}, take_turns=True)
    setups = [Setup.of([plan(target, "tiny", TINY, seed=seed)], target, 60.0) for seed in range(3)]
    first, *_ = [here.serve(each) for each in setups]
    assert here.serve(setups[2]) is here.serve(setups[2])
    assert here.serve(setups[0]) is not first
    here.close()
