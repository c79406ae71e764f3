import pytest

from evoflash.errors import SpaceError
from evoflash.space.expression import ceil_div, compile_expression

NAMES = {"rows": 64, "layout": "a", "fast": True}


def value(text: str):
    return compile_expression(text, "here")(NAMES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rows * 2 + 1", 129),
        ("rows // 3 % 4", 1),
        ("ceil_div(rows, 10)", 7),
        ("min(rows, 3) + max(1, 2)", 5),
        ("layout in ['a', 'b'] and not (rows < 3)", True),
        ("1 if fast else 2", 1),
        ("2 ** 10", 1024),
    ],
)
def test_arithmetic(text, expected):
    assert value(text) == expected


def test_the_names_that_it_reads():
    assert compile_expression("max(rows, device.cores) if fast else 2", "here").names == {"rows", "device", "fast"}


@pytest.mark.parametrize(
    "text",
    [
        "rows.__class__",
        "rows.__class__.__mro__",
        "layout.__class__.__init__.__globals__",
        "().__class__.__bases__[0].__subclasses__()",
        "layout['__class__']",
        "layout|attr('__class__')",
        "min.__globals__",
        "ceil_div.__globals__",
        "layout.format.__func__",
        "'{0.__class__.__init__.__globals__}'.format(layout) == ''",
        "self.__init__",
        "cycler.__init__.__globals__.os",
        "lipsum.__globals__",
        "namespace()",
        "range(3)",
        "open('/etc/passwd')",
        "__import__('os')",
    ],
)
def test_nothing_reaches_pythons_internals(text):
    with pytest.raises(SpaceError, match="here"):
        value(text)


@pytest.mark.parametrize(
    "text", ["9**9**9", "rows ** 65", "2 ** rows ** 9", "'a' * 10**15", "[0] * 10**15", "'a'|center(10**15)"]
)
def test_nothing_takes_for_ever_or_all_memory(text):
    with pytest.raises(SpaceError):
        value(text)


@pytest.mark.parametrize(
    "text", ["rows // 0", "rows + layout", "nowhere", "nowhere.more", "rows.nothing", "rows +", ""]
)
def test_what_fails_says_where_and_what(text):
    with pytest.raises(SpaceError) as raised:
        value(text)
    assert str(raised.value).startswith("here: ")
    assert repr(text) in str(raised.value)


@pytest.mark.parametrize(("dividend", "quotient"), [(0, 0), (1, 1), (8, 1), (9, 2), (16, 2)])
def test_ceil_div(dividend, quotient):
    assert ceil_div(dividend, 8) == quotient
