"""The panel fits its terminal, does not jump, and says what is going on."""

import pytest

from evoflash.report.live.layout import Glyphs, panel
from tests.report.live.search import LONG, counts

UNICODE, ASCII = Glyphs.of("utf-8"), Glyphs.of("ascii")
SHAPES = [("mission",), (LONG,), ("mission", LONG, "decode"), tuple(f"shape-{number}" for number in range(9))]


def text(made, width=79, height=40, glyphs=UNICODE) -> str:
    return "\n".join(line.plain for line in panel(made, width, height, glyphs))


@pytest.mark.parametrize("shapes", SHAPES, ids=["one", "long", "three", "nine"])
@pytest.mark.parametrize("width", [20, 40, 79, 119, 120, 139, 250])
def test_no_line_is_wider_than_the_terminal(shapes, width):
    for results in (0, 1, 30, 150):
        for line in panel(counts(*shapes, results=results), width, 40, UNICODE):
            assert line.cell_len <= width, line.plain


@pytest.mark.parametrize("shapes", SHAPES, ids=["one", "long", "three", "nine"])
@pytest.mark.parametrize("width", [79, 139])
def test_the_panel_is_as_high_at_every_moment(shapes, width):
    moments = [counts(*shapes, phase="baselines")]
    moments += [counts(*shapes, results=results) for results in (0, 1, 5, 30, 399)]
    moments += [counts(*shapes, results=399, phase="finals")]
    heights = {len(panel(each, width, 40, UNICODE)) for each in moments}
    assert len(heights) == 1
    assert heights.pop() <= 23  # of the 24 rows that a terminal has


@pytest.mark.parametrize("height", range(1, 30))
def test_a_low_terminal_has_whole_blocks_the_most_important_first(height):
    lines = panel(counts("mission", results=50), 79, height, UNICODE)
    assert len(lines) <= max(1, height - 1)
    assert lines[0].plain.startswith("mission on NVIDIA")
    if height > 11:
        assert any(line.plain.startswith("best ") for line in lines)


def test_everything_that_was_asked_for_is_there():
    shown = text(counts("mission", results=150))
    for words in (
        "mission on NVIDIA H100",
        "2:31 of 5:00",
        "150 of 400",
        "60 a minute",
        "2:29 left",
        "#139 d by transfer, 10 candidates ago",
        "▁",
        "flash-attention-3                   12.80 us     1.49x",
        "2 slower ones                       25.00 us or more",
        "#150 cuda_flash_wgmma",
        "12 waiting",
        "timing     #7 cuda_flash_wgmma",
        "build failed",
        "family-switch",
    ):
        assert words in shown, words


def test_a_wide_terminal_has_a_table_of_failures():
    shown = text(counts("mission", results=150), 139)
    assert "failure            count" in shown
    assert "build failed" in shown
    assert "duplicate" in shown


def test_several_shapes_have_a_row_each_and_no_times_are_mixed():
    shown = text(counts("mission", LONG, "decode", results=150))
    assert [line.split()[0] for line in shown.splitlines() if "flash-attention-3" in line] == [
        "mission",
        next(line.split()[0] for line in shown.splitlines() if line.startswith("b=1,h=32")),
        "decode",
    ]
    assert "best us" not in shown


def test_ascii_is_enough():
    assert text(counts("mission", "decode", results=150), 60, glyphs=ASCII).replace("漢字", "").isascii()
