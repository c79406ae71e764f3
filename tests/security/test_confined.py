"""Templates and expressions from someone else: they reach nothing of Python, and they end."""

import contextlib
from types import SimpleNamespace

import jinja2
import pytest

from evoflash.codegen.template import load
from evoflash.core.genome import Genome
from evoflash.errors import SpaceError
from evoflash.space.expression import compile_expression
from evoflash.system.jinja_sandbox import CHARACTERS, ConfinedEnvironment
from tests.helpers import PROBLEM

ENDINGS = (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError)

ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ genome.__class__.__init__.__globals__ }}",
    "{{ genome['__class__'] }}",
    "{{ genome|attr('__class__') }}",
    "{{ (genome|attr('\\x5f\\x5fclass\\x5f\\x5f')) }}",
    "{{ '{0.__class__}'.format(genome) }}",
    "{{ '%s'.__mod__(genome) }}",
    "{{ cycler.__init__.__globals__.os.system('true') }}",
    "{{ lipsum.__globals__['os'] }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ range.__class__ }}",
    "{% macro m() %}{% endmacro %}{{ m.__call__.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{% for x in [1] %}{{ loop.__init__.__globals__ }}{% endfor %}",
    "{% for x in [1] %}{{ loop._iterable }}{% endfor %}",
    "{{ [].append(1) }}",
    "{{ {}.update }}",
    "{{ ['a']|map(attribute='__class__')|list }}",
    "{{ [genome]|groupby('__class__') }}",
    "{{ [genome, genome]|sort(attribute='__class__') }}",
    "{{ [genome]|sum(attribute='__class__') }}",
    "{{ [genome]|unique(attribute='__class__')|list }}",
    "{{ [genome, genome]|max(attribute='__class__') }}",
    "{{ genome|string|e }}",
    "{{ genome|pprint }}",
    "{{ genome|tojson }}",
    "{% include '../../../../etc/passwd' %}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{{ ''.join }}",
    "{{ config }}",
    "{{ request }}",
]


class NamedError(Exception):
    """An error that says where it comes from."""


@pytest.fixture
def environment(tmp_path):
    return ConfinedEnvironment(loader=jinja2.FileSystemLoader([tmp_path]))


def rendered(environment, text: str) -> str:
    environment.begin()
    return environment.from_string(text).render(genome=SimpleNamespace(rows=64, layout="a"))


@pytest.mark.parametrize("text", ESCAPES)
def test_nothing_leads_out(environment, text):
    with pytest.raises(ENDINGS):
        rendered(environment, text)


BOMBS = [
    "{{ 'a' * 10**9 }}",
    "{{ [0] * 10**9 }}",
    "{{ 9**9**9 }}",
    "{{ '%99999999999d' % 5 }}",
    "{{ 'a'|center(10**9) }}",
    "{{ 'a\\nb'|indent(10**9) }}",
    "{{ ('a'|format) }}",
    "{% for a in range(10**9) %}{% endfor %}",
    "{% for a in range(900) %}{% for b in range(900) %}{% endfor %}{% endfor %}",
    "{% for a in range(900) %}{% for b in range(900) %}x{% endfor %}{% endfor %}",
    "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}",
    "{% set a = 'x' %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
    "{% set a = 'x' %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
    "{% set a = 'x' %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 40 + "{{ a }}",
    "{% set a = 'x' %}" + "{% set a = [a, a]|join %}" * 40 + "{{ a }}",
    "{% set a = 'xx' %}" + "{% set a = a|replace('x', a) %}" * 40 + "{{ a }}",
    "{% set a = [0] %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
    "{% set ns = namespace(a='x') %}{% for i in range(60) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}",
    "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
]


@pytest.mark.parametrize("text", BOMBS)
def test_everything_ends(environment, text):
    with pytest.raises(ENDINGS):
        rendered(environment, text)


def test_what_templates_need_works(environment):
    text = """{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{% set n = namespace(sum=0) %}
{% for i in range(4) %}{% set n.sum = n.sum + i %}{{ twice(i) }}{{ "," if not loop.last }}{% endfor %}
{{ n.sum }} {{ genome.rows // 3 % 5 ~ genome.layout }} {{ ["a", "b"]|join("-") }} {{ min(3, 4) + ceil_div(7, 2) }}
{% filter indent(2, first=true) %}x
y{% endfilter %}"""
    assert rendered(environment, text).split() == ["00,11,22,33", "6", "1a", "a-b", "7", "x", "y"]
    assert len(rendered(environment, "{% for i in range(1000) %}{{ 'x' }}{% endfor %}")) == 1000 < CHARACTERS


@pytest.mark.parametrize(
    "text",
    [
        "(" * 3000 + "1" + ")" * 3000,
        "-" * 3000 + "1",
        "not " * 900 + "true",
        "1 " + "+ 1 " * 900,
        "x" * 5000,
        "'%99999999999d' % 5",
        "9" * 3900 + " * " + "9",
        "1e999 // 1",
        "(-8) ** 0.5 < 1",
        "[1, 2][:: 'a']",
        "{'a': 1}.a",
        "1 if",
        "}}{{ 1",
        "{% raw %}",
        "1 }} {{ '' }} {{ (2",
        "\x00",
        "'\ud800'",
    ],
)
def test_an_expression_is_a_value_or_an_error_that_names_it(text):
    with contextlib.suppress(NamedError):
        try:
            compile_expression(text, "here")({"rows": 1})
        except SpaceError as error:
            raise (NamedError if str(error).startswith("here: ") else AssertionError)(str(error)) from error


@pytest.mark.parametrize("text", ["{% for i in range(10**9) %}{% endfor %}", "{{ genome.__class__ }}", "{{ m( }}"])
def test_a_template_that_misbehaves_is_an_error_of_its_own(tmp_path, text):
    folder = tmp_path / "templates" / "bad"
    folder.mkdir(parents=True)
    (folder / "template.yaml").write_text(
        "family: bad\nsummary: none\nproblem: attention\ntarget: cpu\nsource: kernel.cpp.j2\n"
    )
    (folder / "kernel.cpp.j2").write_text(text)
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "bad.yaml").write_text("family: bad\nparameters: {a: {kind: flag}}\n")
    with pytest.raises(SpaceError, match="fix"):
        load("bad", [tmp_path]).render(Genome({"a": True}), PROBLEM, {"cores": 2})
