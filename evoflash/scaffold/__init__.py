"""Starting points that a user copies: a problem's file, and a family of kernels for a problem."""

from evoflash.scaffold.family import FamilyFiles, family_paths, write_family
from evoflash.scaffold.problem import write_problem

__all__ = ["FamilyFiles", "family_paths", "write_family", "write_problem"]
