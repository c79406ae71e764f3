"""The commands of README and the guides, run as printed, page by page, each page in a folder of its own.

Only the effort is another one: the presets of `configs/effort.yaml` are made small. The tutorials have tests of their
own (test_your_own_kernel.py, test_writing_a_template.py). The commands of docs/results/ take a GPU or hours.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import printed

pytestmark = pytest.mark.long

GUIDES = ("README.md", "docs/index.md", "docs/getting-started.md", "docs/searching.md", "docs/search-space.md",
          "docs/exporting.md", "docs/comparing-strategies.md")  # fmt: skip
EFFORT = "{name}: {{common: {{budget: 6, minutes: 1, finalists: 2, rounds: 5, samples: 5, quick_samples: 2}}}}\n"
TIMEOUT_S = 900
SERVING = ("dashboard",)  # until it is stopped; tests/report/test_dashboard.py runs it
SPACE = "rows,stages,time_ms,status\n" + "".join(
    f"{rows},{stages},{(rows - 6) ** 2 + 2 * (stages - 3) ** 2 + 10},ok\n"
    for rows in range(1, 13)
    for stages in range(1, 9)
)


def environment() -> dict[str, str]:
    """That of the tests, with this tree and the commands of its environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVOFLASH_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return {**kept, "PATH": path, "PYTHONPATH": str(printed.ROOT)}


@pytest.mark.timeout(4 * TIMEOUT_S)
@pytest.mark.parametrize("page", GUIDES)
def test_the_commands_of_a_page_run(page, tmp_path):
    (tmp_path / "configs").mkdir()
    presets = "".join(EFFORT.format(name=name) for name in ("quick", "standard", "thorough"))
    (tmp_path / "configs" / "effort.yaml").write_text(presets)
    (tmp_path / "space.csv").write_text(SPACE)
    commands = [each for each in printed.commands(printed.ROOT / page) if each.words[0] == "evoflash"]
    commands = [each for each in commands if each.words[1] not in SERVING]
    assert commands
    if page not in ("README.md", "docs/index.md", "docs/getting-started.md"):  # those begin with a search of their own
        commands.insert(0, printed.Command(printed.ROOT / page, 0, "evoflash search --shape tiny --no-calls"))
    for each in commands:
        ran = subprocess.run(
            each.words, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S
        )
        assert ran.returncode == 0, f"{each}: {each.text}\n{ran.stdout[-2000:]}\n{ran.stderr[-3000:]}"
