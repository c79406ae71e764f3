"""Installed plug-ins: what they provide is found, and one that is broken stops nothing."""

import sys

import pytest

from evoflash import plugins, proposers, resources
from evoflash.system import entry_points

GROUPS = """\
[evoflash.proposers]
{0} = {0}_module:Thing
[evoflash.problems]
{0} = {0}_module:Thing
[evoflash.templates]
{0} = {0}_module
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, and a function that installs one: its name and its module's text."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name: str, text: str | None) -> None:
        metadata = tmp_path / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(GROUPS.format(name))
        if text is not None:
            module = tmp_path / f"{name}_module"
            module.mkdir()
            (module / "__init__.py").write_text(text)

    entry_points.loaded.cache_clear()
    yield install
    entry_points.loaded.cache_clear()
    for module in ("good_module", "broken_module"):
        sys.modules.pop(module, None)


@pytest.mark.parametrize(
    "text", [None, "import surely_no_such_module\n", "def f(:\n", "import sys\nsys.exit(7)\n", "other = 1\n"]
)
def test_a_broken_plug_in_is_left_out_by_name(site, tmp_path, caplog, text):
    site("good", "class Thing: ...\n")
    site("broken", text)
    names = proposers.names()
    assert {"evolution", "good"} <= set(names)
    assert "broken" not in names
    assert set(plugins.installed("problems")) == {"good"}
    assert tmp_path / "good_module" in resources.roots()
    told = [record.getMessage() for record in caplog.records if "evoflash.proposers" in record.getMessage()]
    assert len(told) == 1
    assert "plug-in broken" in told[0]
    assert "left out" in told[0]
