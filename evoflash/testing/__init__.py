"""Conformance suites for plug-ins. Each is a function that raises an AssertionError saying what is wrong.

from evoflash.testing import check_problem, check_proposer

def test_my_proposer():
    check_proposer(MyProposer)

def test_my_problem():
    check_problem(MyProblem(rows=128, columns=64))
"""

from evoflash.testing.problem import check_problem
from evoflash.testing.proposer import check_proposer

__all__ = ["check_problem", "check_proposer"]
