"""docs/errors.md matches the code, and each error says what to do."""

from pathlib import Path

from tests import error_table

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"


def test_every_error_is_in_the_table():
    assert PAGE.read_text(encoding="utf-8") == error_table.page(), (
        "the errors have changed: python -m tests.error_table > docs/errors.md"
    )


def test_every_error_says_what_to_do():
    rows = error_table.rows()
    assert len(rows) > 80
    assert [row.message for row in rows if len(row.advice) < 8] == []
    assert {row.exit_code for row in rows} == {1, 2, 3}


def test_every_class_of_errors_is_raised_somewhere():
    codes = {name: each.exit_code for name, each in error_table.CLASSES.items() if name != "EvoflashError"}
    assert set(codes.values()) == {1, 2, 3}
    text = "".join(path.read_text(encoding="utf-8") for path in error_table.PACKAGE.rglob("*.py"))
    assert [name for name in codes if text.count(f"{name}(") < 2] == []
