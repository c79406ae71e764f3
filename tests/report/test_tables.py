"""Tables: drawn on a terminal, whole lines in a pipe."""

import io
import math

import pytest

from evoflash.report.tables import Sheet, digits, duration, print_sheets, times

LONG = "a reason that goes on and on, far beyond what any terminal has columns for " * 4


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def sheet():
    return Sheet.of("title [bold]", "name|>count|why", [("one", 1, LONG), ("twenty", 20, None), ("[red]x", 3, "a\nb")])


def test_in_a_pipe_lines_are_whole(sheet, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("COLUMNS", "40")
    print_sheets(sheet, Sheet.of("empty", "a|b", []))
    lines = out.getvalue().splitlines()
    assert lines[0] == "title [bold]"
    assert lines[1] == "  name    count  why"
    assert lines[2] == f"  one         1  {LONG.strip()}"
    assert lines[3] == "  twenty     20  -"
    assert lines[4] == "  [red]x      3  a / b"
    assert "empty" not in out.getvalue()


def test_on_a_terminal_nothing_is_cut_or_taken_for_markup(sheet, monkeypatch):
    out = Terminal()
    monkeypatch.setattr("sys.stdout", out)
    for name, value in {"COLUMNS": "60", "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    print_sheets(sheet)
    text = out.getvalue()
    assert "┃" in text
    assert "[red]x" in text
    assert "…" not in text
    assert text.count("columns") == 4


def test_nested_facts_become_dotted_names():
    sheet = Sheet.facts("machine", {"gpu": {"name": "H200", "clocks": {"sm": 1980}}, "flags": ["-O3", "-g"]})
    assert sheet.rows == (("gpu.name", "H200"), ("gpu.clocks.sm", "1980"), ("flags", "-O3, -g"))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (1.23456, "1.235"), (12.3456, "12.35"), (1234.5, "1234"), (123456.7, "123457"), (1e-5, "1e-05")],
)
def test_four_digits(value, text):
    assert digits(value) == text


def test_digits_of_no_number():
    assert (digits(math.nan), digits(math.inf)) == ("nan", "inf")


def test_ratios_and_durations():
    assert times(1.5234, 1.4, 1.6) == "1.52x [1.4, 1.6]"
    assert (times(2.0), times(None)) == ("2x", None)
    assert [duration(each) for each in (None, 4.21, 200, 7500)] == [None, "4.2 s", "3 min 20 s", "2 h 5 min"]
