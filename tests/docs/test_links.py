"""Links of README lead somewhere; those of docs/ are checked where the site is built."""

import re

import pytest

from tests.docs.printed import ROOT

LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize(("path", "anchor"), sorted(set(LINK.findall(README))), ids=str)
def test_a_link_of_the_readme_leads_somewhere(path, anchor):
    target = ROOT / path if path else ROOT / "README.md"
    assert target.exists()
    assert not anchor or anchor in anchors(target.read_text(encoding="utf-8"))
