"""Genomes that show a family's space, every value of every parameter at least once; and their builds."""

import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from evoflash.codegen.source import Source
from evoflash.codegen.template import load
from evoflash.codegen.toolchain import Build, Toolchain
from evoflash.core.genome import Genome
from evoflash.problems import Problem
from evoflash.targets.base import Target, usable_cores

Sources = dict[tuple[Problem, Genome], Source]


def spread(
    family: str,
    problems: Sequence[Problem],
    device: Mapping[str, Any],
    seed: int = 0,
    draws: int = 60,
    missing_is_fine: bool = False,
) -> Sources:
    """One genome for each problem, then greedily those of some random ones that show most values not yet seen.

    Args:
        missing_is_fine: whether there may be values that no draw shows, as those for other devices.
    """
    template, rng = load(family), random.Random(seed)
    spaces = {problem: template.space([problem], device) for problem in problems}
    chosen = [(problem, space.sample(rng)) for problem, space in spaces.items()]
    pool = [(problem, space.sample(rng)) for problem, space in spaces.items() for _ in range(draws)]
    missing = {(name, value) for name, each in template.declaration.parameters.items() for value in each.values}
    missing -= {gene for _, genome in chosen for gene in genome.items()}
    while missing:
        best = max(pool, key=lambda each: len(missing & set(each[1].items())))
        if missing_is_fine and not missing & set(best[1].items()):
            break
        assert missing & set(best[1].items()), f"{family}: no draw shows {sorted(missing, key=str)}"
        missing -= set(best[1].items())
        chosen.append(best)
    return {(problem, genome): template.render(genome, problem, device) for problem, genome in chosen}


def build_all(sources: Sources, target: Target, folder: Path) -> dict[tuple[Problem, Genome], Build]:
    """The builds of these sources, each of which compiles and takes the shared memory that its space computes."""
    toolchain = Toolchain(target, folder, deadline_s=300)
    with ThreadPoolExecutor(usable_cores()) as pool:
        builds = dict(zip(sources, pool.map(toolchain.build, sources.values()), strict=True))
    for where, build in builds.items():
        assert build.library is not None, f"{where}: {build.reason}"
        assert build.report.shared_bytes == sources[where].shared_bytes, where
    return builds
