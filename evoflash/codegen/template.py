"""A template: a folder with a manifest and a Jinja2 kernel; it turns a genome into one self-contained source file."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import jinja2
from pydantic import ValidationError

from evoflash import resources
from evoflash.codegen.amalgamation import Amalgamation
from evoflash.codegen.manifest import Manifest
from evoflash.codegen.source import INCLUDE_PATH, Source
from evoflash.core.genome import Genome
from evoflash.errors import SpaceError, unknown
from evoflash.problems import Problem
from evoflash.problems.rival import is_installed
from evoflash.space import declaration
from evoflash.space.declaration import Constraint, Declaration
from evoflash.space.expression import compile_expression
from evoflash.space.search_space import SearchSpace
from evoflash.system.jinja_sandbox import ConfinedEnvironment


class Template:
    """A family of kernels: manifest, kernel template and search space.

    Attributes:
        include_folders: where its headers are looked for: its own folder, then the include folders.
    """

    def __init__(self, folder: Path, includes: Sequence[Path], space: Declaration):
        content = resources.read_yaml(folder / "template.yaml")
        try:
            self.manifest = Manifest.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise SpaceError(f"{folder / 'template.yaml'}: {where}: {first['msg']}; fix the file") from None
        if not self.manifest.family == folder.name == space.family:
            raise SpaceError(f"{folder}: folder, template.yaml and search space must name one family; fix the names")
        self.family = self.manifest.family
        self.folder = folder
        self.declaration = space
        self.include_folders = tuple(dict.fromkeys(each for each in (folder, *includes) if each.is_dir()))
        self._spaces: dict[tuple[object, ...], SearchSpace] = {}
        self._loader = jinja2.FileSystemLoader([folder, *includes])
        self._environment = ConfinedEnvironment(
            loader=self._loader,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,  # one run, one template
        )
        self._amalgamation = Amalgamation(lambda name: self._header(name)[0])
        try:
            self._kernel = self._environment.get_template(self.manifest.source)
        except jinja2.TemplateNotFound as error:
            raise SpaceError(f"{folder}: {error.name} does not exist; fix `source` in template.yaml") from None
        except jinja2.TemplateSyntaxError as error:
            raise SpaceError(f"{error.filename}:{error.lineno}: {error.message}; fix the template") from None
        except (SyntaxError, RecursionError, MemoryError, UnicodeDecodeError, OSError) as error:
            raise SpaceError(f"{folder / self.manifest.source} cannot be read: {error}; fix the template") from None

    def refusals(self, problem: Problem, device: Mapping[str, Any]) -> list[str]:
        """Why this family does not take a problem on a device; empty when it does."""
        if problem.computes != self.manifest.problem:
            return [f"it computes {self.manifest.problem}, not {problem.computes}"]
        lacking = [name for name in problem.features if name not in self.manifest.takes]
        if lacking:
            return [f"it lacks {', '.join(lacking)}"]
        missing = [name for name in self.manifest.imports if not is_installed(name)]
        if missing:
            return [f"it needs {missing[0]}, which is not installed"]
        absent = [text for text, path in self._include_paths() if not path.is_dir()]
        if absent:
            return [f"it needs the headers in {absent[0]}, which is no folder"]
        if stale := self.missing_facts(problem):
            return [stale]
        names = {"problem": SimpleNamespace(**problem.facts()), "device": SimpleNamespace(**device)}
        where = f"template {self.family}: requires"
        return [each.why for each in self.manifest.requires if not compile_expression(each.expr, where)(names)]

    def missing_facts(self, problem: Problem) -> str:
        """What says that manifest or space read facts that the problem has not, by an older or a wrong name.

        A tensor of fewer dimensions may lack a size that is read where its rank is another: `x_2`. Empty for none.
        """
        facts = problem.facts()
        where = f"search space {self.family}"
        texts = [each.expr for each in (*self.manifest.requires, *self.declaration.constraints)]
        texts += map(str, self.declaration.derived.values())
        read = dict.fromkeys(self.manifest.constants)
        for text in texts:
            read |= dict.fromkeys(sorted(compile_expression(text, where).facts))
        missing = [name for name in read if name not in facts and f"{re.sub(r'_[0-9]+$', '', name)}_rank" not in facts]
        if problem.computes != self.manifest.problem or not missing:
            return ""
        return f"it reads the fact {missing[0]}, which {problem.computes} has not; fix its manifest or space"

    def space(self, problems: Sequence[Problem], device: Mapping[str, Any]) -> SearchSpace:
        """The search space of this family for problems on a device; bound once for each.

        Args:
            problems: all that one kernel must serve. What is valid for each of them is valid, less the genomes whose
                kernels would have sizes built in that differ.
        """
        key = (*(each.model_dump_json() for each in problems), *device.items())
        if key not in self._spaces:
            declared, differing = self.declaration, self.differing(self.manifest.sizes, problems)
            if differing and "specialised" in declared.parameters:
                why = f"one kernel must serve every {', '.join(differing)}"
                general = Constraint(expr="not specialised", why=why)
                declared = declared.model_copy(update={"constraints": (general, *declared.constraints)})
            self._spaces[key] = SearchSpace(declared, [each.facts() for each in problems], device)
        return self._spaces[key]

    def same_constants(self, one: Problem, other: Problem) -> bool:
        """Whether a kernel rendered for one problem is meant to take the other."""
        return not self.differing(self.manifest.constants, [one, other])

    @staticmethod
    def differing(names: Sequence[str], problems: Sequence[Problem]) -> list[str]:
        """Which of these facts the problems do not share."""
        first, *others = (each.facts() for each in problems)
        return [name for name in names if any(each.get(name) != first.get(name) for each in others)]

    def render(self, genome: Genome, problem: Problem, device: Mapping[str, Any]) -> Source:
        """The source file of a genome. The same genes, constants and architecture give the same text.

        Raises:
            SpaceError: when the template reads a name that it has no right to, or does not have.
        """
        derived = self.space([problem], device).derived(genome)
        text = self._written(genome, problem, device, derived)
        if self.language != "python":
            paths = "".join(f"{INCLUDE_PATH}{path}\n" for _, path in self._include_paths())
            text = paths + self._amalgamation.of(text, self.generated(problem))
        shared = derived.get("shared_bytes")
        return Source(text, self.language, int(shared) if shared is not None else None, self.manifest.max_spill_bytes)

    @property
    def language(self) -> Literal["cuda", "c++", "python"]:
        """That of its kernels: Python if the template's name says so, otherwise that of the target."""
        if self.manifest.source.removesuffix(".j2").endswith(".py"):
            return "python"
        return "cuda" if self.manifest.target == "cuda" else "c++"

    def _include_paths(self) -> list[tuple[str, Path]]:
        """The declared folders, as written and as they are."""
        return [(text, self.folder / os.path.expandvars(text)) for text in self.manifest.include_paths]

    def written(self, genome: Genome, problem: Problem, device: Mapping[str, Any]) -> str:
        """The kernel's own file as Jinja writes it for a genome: it still includes its headers.

        Raises:
            SpaceError: as `render` does.
        """
        return self._written(genome, problem, device, self.space([problem], device).derived(genome))

    def _written(self, genome: Genome, problem: Problem, device: Mapping[str, Any], derived: Mapping[str, Any]) -> str:
        facts = problem.facts()
        readable = [*self.manifest.constants, *(self.manifest.sizes if genome.get("specialised") else ())]
        for name in readable:
            if name not in facts:
                raise SpaceError(f"{self.folder / 'template.yaml'}: constants: {unknown('fact', name, facts)}")
        self._environment.begin()
        try:
            return self._kernel.render(
                genome=SimpleNamespace(**genome),
                derived=SimpleNamespace(**derived),
                problem=SimpleNamespace(**{name: facts[name] for name in readable}),
                device=SimpleNamespace(arch=device["arch"]) if "arch" in device else SimpleNamespace(),
            )
        except (
            jinja2.TemplateError,
            ArithmeticError,
            LookupError,
            TypeError,
            ValueError,
            RecursionError,
            NameError,
        ) as error:
            raise SpaceError(f"template {self.family}: {error}; fix {self.folder / self.manifest.source}") from None

    @staticmethod
    def generated(problem: Problem) -> dict[str, str]:
        """The headers that are in no folder, by the name that they are included by: that of the problem."""
        return dict([problem.header])

    def headers(self, text: str, problem: Problem) -> dict[str, Path]:
        """The headers that such a file includes, directly or through others, by the name that they are included by;
        without the generated ones.
        """
        generated = self.generated(problem)
        names = self._amalgamation.names(text, generated)
        return {name: self._header(name)[1] for name in names if name not in generated}

    def _header(self, name: str) -> tuple[str, Path]:
        try:
            text, path, _ = self._loader.get_source(self._environment, name)
        except jinja2.TemplateNotFound:
            raise SpaceError(
                f'template {self.family}: #include "{name}": no include folder has this header; fix the name'
            ) from None
        except (UnicodeDecodeError, OSError) as error:
            raise SpaceError(
                f'template {self.family}: #include "{name}" cannot be read: {error}; fix the file'
            ) from None
        return text, Path(path)


def load_all(extra: Sequence[Path] = (), say: Callable[[str], None] | None = None) -> dict[str, Template]:
    """Every family by name; a user's family goes before one of the same name that ships.

    Args:
        say: is told of each family that is left out because it is malformed.

    Raises:
        SpaceError: for a family that is malformed, without `say`.
    """
    families = {}
    for family, folder in _folders(extra).items():
        try:
            families[family] = load(family, extra)
        except SpaceError as error:
            if say is None:
                raise
            say(f"{folder / 'template.yaml'} is left out: {error}")
    return families


def load(family: str, extra: Sequence[Path] = ()) -> Template:
    """One family by name.

    Raises:
        NotFoundError: with the nearest names.
        SpaceError: for a template or space that is malformed.
    """
    folders = _folders(extra)
    if family not in folders:
        raise unknown("template", family, folders)
    folder = folders[family]
    roots = resources.roots(extra)
    includes = [root / "templates" / "include" for root in (folder.parent.parent, *roots)]
    return Template(folder, includes, declaration.read(_space_path(family, roots)))


def _folders(extra: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for root in resources.roots(extra):
        for manifest in sorted((root / "templates").glob("*/template.yaml")):
            found.setdefault(manifest.parent.name, manifest.parent)
    return found


def _space_path(family: str, folders: Sequence[Path]) -> Path:
    for root in folders:
        path = root / "search_spaces" / f"{family}.yaml"
        if path.is_file():
            return path
    raise SpaceError(f"family {family} has no search space; write search_spaces/{family}.yaml")
