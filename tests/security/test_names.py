"""Names, genomes and paths cannot mean anything to a shell, to ninja or to a path."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evoflash import targets
from evoflash.codegen.manifest import Manifest
from evoflash.codegen.source import Source
from evoflash.codegen.toolchain import Toolchain
from evoflash.errors import MissingError, SpaceError, UsageError
from evoflash.export.package import write
from evoflash.space import declaration
from evoflash.targets import base, cuda
from tests.export.conftest import cpu_winner

NASTY = [
    "a b", "a;touch owned", "$(touch owned)", "`touch owned`", "a\ntouch owned", "a'b", 'a"b', "a|b", "a&b", "$HOME",
    "${in}", "$in", "a:b", "../up", "/etc", "a/../../b", "ünïcode", "a\x00b", "a\rb", "-rf", "--", "", ".", "..",
    "%s", "{{ 1 }}", "a\u2028b", "\x1b[31m", "~", "*", "a\\b",
]  # fmt: skip
texts = st.sampled_from(NASTY) | st.text(max_size=30)
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@relaxed
@given(texts)
def test_names_that_are_admitted_are_plain(text):
    plain = text.isascii() and text.replace("_", "").isalnum() and text[:1].isalpha() and len(text) <= 64
    declared = {"family": "plain", "parameters": {text: {"kind": "flag"}}}
    if plain:
        declaration.Declaration.model_validate(declared)
    else:
        with pytest.raises(ValueError, match="parameters"):
            declaration.Declaration.model_validate(declared)
    head = {"summary": "", "problem": "attention", "target": "cpu"}
    for field, value in ({"family": text, "source": "kernel"}, text), ({"family": "plain", "source": text}, text):
        try:
            Manifest.model_validate({**head, **field})
        except ValueError:
            continue
        assert Path(value).name == value
        assert shlex.quote(value) == value
        assert value not in (".", "..")


@relaxed
@given(st.lists(texts, min_size=1, max_size=3, unique=True))
def test_values_have_no_line_breaks_or_control_characters(values):
    content = {"family": "plain", "parameters": {"a": {"kind": "categorical", "values": values}}}
    try:
        found = declaration.Declaration.model_validate(content)
    except ValueError:
        assert any(not each.isprintable() or len(each) > 200 for each in values)
        return
    for value in found.parameters["a"].values:
        assert isinstance(value, str)
        assert len(value.splitlines()) <= 1
        assert "\x1b" not in value


@relaxed
@given(texts)
def test_an_exports_name_is_a_name_or_refused(text):
    try:
        winner = cpu_winner(text)
    except UsageError:
        return
    assert winner.name.isidentifier()
    assert shlex.quote(winner.name) == winner.name


@pytest.fixture(scope="module")
def target():
    return targets.detect("cpu")


FOLDERS = [
    "a b",
    "$HOME",
    "$(touch owned)",
    "a'b",
    'a"b',
    "a;touch owned",
    "a\nb",
    "ünï",
    "a:b",
    "-x",
    "a|b",
    "%41",
    "#",
    "a?b",
]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_may_have_any_name(tmp_path, target, name, monkeypatch):
    from evoflash.store import RunStore
    from tests.store import runs

    place = tmp_path / name
    place.mkdir()
    monkeypatch.chdir(tmp_path)
    build = Toolchain(target, place / "cache").build(Source("extern int answer() { return 42; }\n", "c++"))
    assert build.library is not None, build.report.log
    assert Path(build.library).is_relative_to(place)
    with RunStore.open(str(place / "runs.db"), write=True) as store:
        assert runs.small_run(store) == 1
    with RunStore.open(str(place / "runs.db")) as store:
        assert store.run().candidates == 8
    folder = write(cpu_winner("exported_here"), place / "export")
    assert (folder / "exported_here" / "SHA256SUMS").is_file()
    assert {each.name for each in tmp_path.iterdir()} == {name}
    assert not list(tmp_path.rglob("owned"))


@relaxed
@given(texts.filter(lambda text: "\x00" not in text and "\ud800" not in text))
def test_a_compiler_is_a_program_or_refused(text):
    before = os.environ.get("CXX")
    try:
        os.environ["CXX"] = text
    except (ValueError, UnicodeEncodeError):
        return
    try:
        command = base.cxx()
    except MissingError:
        return
    finally:
        os.environ.pop("CXX")
        if before is not None:
            os.environ["CXX"] = before
    assert "\n" not in command


def test_a_toolkit_may_have_any_name(tmp_path, monkeypatch):
    home = tmp_path / "tool kit; touch owned $HOME"
    (home / "bin").mkdir(parents=True)
    nvcc = home / "bin" / "nvcc"
    nvcc.write_text("#!/bin/sh\necho Cuda compilation tools, release 13.0\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(home))
    monkeypatch.setattr(cuda, "nvrtc_library", lambda: None)
    gpu = cuda.of_arch("sm_90a")
    assert "release 13.0" in gpu.toolchain
    words = shlex.split(gpu.steps()[0].command)
    assert words[0] == str(nvcc)
    assert f"-I{home / 'include'}" in shlex.split(gpu.steps()[1].command)
    done = subprocess.run(["sh", "-c", gpu.steps()[0].command], cwd=tmp_path, capture_output=True, text=True)
    assert "release 13.0" in done.stdout
    assert not list(tmp_path.rglob("owned"))


def test_a_space_from_a_file_names_the_file_and_the_key(tmp_path):
    path = tmp_path / "space.yaml"
    for name in NASTY:
        path.write_text(yaml.safe_dump({"family": "plain", "parameters": {name: {"kind": "flag"}}}), encoding="utf-8")
        with pytest.raises(SpaceError, match=r"space\.yaml"):
            declaration.read(path)
