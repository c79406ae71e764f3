"""What a run's results say, without a language model (EvoEngineer's third kind of information, arXiv 2510.03760).

Each insight is a sentence for a person, and the figures that it stands on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from evoflash.core.archive import Archive, Member
from evoflash.core.genome import Gene
from evoflash.core.status import Status
from evoflash.space.search_space import SearchSpace

GENERATION = 50  # results from one look to the next
MANY = 1000  # results beyond which only every tenth generation is looked at: a look takes time, and little changes
LEAST_RIGHT = 20  # right results of a family until genes are weighed
LEAST_TRIES = 4  # of a value, until it is said to fail always
LEAST_PAIRS = 3  # of kernels that differ in one gene alone, until it is said to change nothing
NAMED = 4  # genes that a sentence names


@dataclass(frozen=True)
class Observation:
    """One insight: `kind` for programs, `text` for a person, `data` what it stands on."""

    kind: str
    text: str
    data: dict[str, Any]


@runtime_checkable
class ReportsFigures(Protocol):
    """A strategy that can say how it goes about it, e.g. how often its islands started afresh."""

    def figures(self) -> dict[str, Any]:
        """Figures by name; nothing where there is nothing to say."""
        ...


def observe(
    archive: Archive, spaces: Mapping[str, SearchSpace], device: Mapping[str, Any], strategy: object = None
) -> list[Observation]:
    """Everything that the results so far say, family by family in the order of their best.

    Args:
        device: the target's facts.
        strategy: also asked for its figures where it `ReportsFigures`.
    """
    found: list[Observation] = []
    by_family: dict[str, list[Member]] = defaultdict(list)
    for member in archive:
        by_family[member.candidate.family].append(member)
    for family in archive.families():
        found += importance(family, archive.ok(family), spaces[family])
    for family, members in by_family.items():
        found += failing(family, members)
        found += silent(family, members)
    if archive.best is not None:
        found += bound(archive.best, spaces[archive.best.candidate.family], device)
    for name, figures in strategy.figures().items() if isinstance(strategy, ReportsFigures) else ():
        told = ", ".join(f"{key} {value}" for key, value in figures.items())
        found.append(Observation("population", f"{name}: {told}", {"name": name, **figures}))
    return found


def is_due(results: int) -> bool:
    """Whether to look after so many results."""
    return results % (GENERATION if results <= MANY else 10 * GENERATION) == 0


def importance(family: str, right: Sequence[Member], space: SearchSpace) -> list[Observation]:
    """Which genes decide: the share of the variance of log time that each explains alone (its correlation ratio)."""
    if len(right) < LEAST_RIGHT:
        return []
    times = np.log([member.fitness_us for member in right])
    total = float(((times - times.mean()) ** 2).sum())
    if total == 0:
        return []
    columns = zip(*(member.candidate.genome.values() for member in right), strict=True)
    genes = dict(zip(right[0].candidate.genome, columns, strict=True))
    shares: dict[str, float] = {}
    for name in space.parameters:
        numbers: dict[Gene, int] = {}  # of the values, in the order of their first use
        group = [numbers.setdefault(value, len(numbers)) for value in genes[name]]
        counts = np.bincount(group)
        means = np.bincount(group, weights=times) / counts
        shares[name] = float((counts * (means - times.mean()) ** 2).sum()) / total
    ranking = sorted(shares.items(), key=lambda pair: -pair[1])
    told = ", ".join(f"{name} {share:.0%}" for name, share in ranking[:NAMED])
    return [Observation("importance", f"{family}: what decides alone: {told}", {"family": family, "shares": shares})]


def failing(family: str, members: Sequence[Member]) -> list[Observation]:
    """Values with which everything failed, and how most of it did, while others of the gene were right."""
    outcomes: dict[str, dict[Gene, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for member in members:
        if member.evaluation.status is not Status.DUPLICATE:
            for name, value in member.candidate.genome.items():
                outcomes[name][value][member.evaluation.status] += 1
    found = []
    for name, values in outcomes.items():
        if not any(counts[Status.OK] for counts in values.values()):
            continue
        for value, counts in values.items():
            tries = counts.total()
            if tries >= LEAST_TRIES and not counts[Status.OK]:
                status, times = counts.most_common(1)[0]
                text = f"{family}: {name}={value} has failed in all {tries} tries, {times} of them {status}"
                data = {"family": family, "gene": name, "value": value, "statuses": dict(counts)}
                found.append(Observation("failing", text, data))
    return found


def silent(family: str, members: Sequence[Member]) -> list[Observation]:
    """Genes that never changed the machine code where they alone were changed."""
    built = [
        (tuple(member.candidate.genome.values()), member.evaluation.build.binary_digest)
        for member in members
        if member.evaluation.build is not None and member.evaluation.build.binary_digest is not None
    ]
    found = []
    for place, name in enumerate(members[0].candidate.genome) if built else ():
        rest: dict[tuple[Gene, ...], str] = {}  # the other genes -> the machine code
        for genes, digest in built:
            if rest.setdefault(genes[:place] + genes[place + 1 :], digest) != digest:
                break  # as for most genes, once they alone were changed
        else:
            pairs = len(built) - len(rest)
            if pairs >= LEAST_PAIRS:
                text = f"{family}: {name} has changed no machine code in {pairs} comparisons"
                found.append(Observation("silent", text, {"family": family, "gene": name, "pairs": pairs}))
    return found


def bound(best: Member, space: SearchSpace, device: Mapping[str, Any]) -> list[Observation]:
    """What limits how many blocks of the best run at once, and in how many waves its grid goes over the processors.

    Nothing where the compiler reports no figures; no waves where the space has no figure `grid_blocks`.
    """
    build = best.evaluation.build
    figures = {**best.candidate.genome, **space.derived(best.candidate.genome)}
    threads, processors = figures.get("threads"), device.get("multiprocessors", 0)
    if build is None or not build.registers or not isinstance(threads, int):
        return []
    limits = {
        "registers": device.get("registers_per_multiprocessor", 0) // (build.registers * threads),
        "threads": device.get("max_threads_per_multiprocessor", 0) // threads,
    }
    if build.shared_bytes:
        limits["shared memory"] = device.get("shared_bytes_per_multiprocessor", 0) // build.shared_bytes
    tightest = min(limits, key=lambda name: limits[name])
    data: dict[str, Any] = {"candidate": best.candidate.index, "blocks": dict(limits), "bound": tightest}
    told, running, grid = "", limits[tightest], figures.get("grid_blocks")
    if isinstance(grid, int) and processors and running:
        waves = grid / (processors * running)
        data |= {"grid_blocks": grid, "multiprocessors": processors, "waves": waves}
        told = f"; {grid} blocks over {processors} multiprocessors are {waves:.2f} waves"
        if waves <= 1:
            tightest = data["bound"] = "the number of blocks"
            running = -(-grid // processors)
        else:
            told += f", the last {waves % 1 or 1:.0%} full"
    occupancy = data["occupancy"] = running * threads / max(1, device.get("max_threads_per_multiprocessor", 0))
    text = (
        f"{best.candidate.family}: {tightest} bound the best: {running} blocks a multiprocessor, "
        f"occupancy {occupancy:.0%} ({build.registers} registers, {build.shared_bytes or 0} bytes of shared memory)"
        f"{told}"
    )
    if build.spill_bytes:
        text += f"; {build.spill_bytes} bytes spill"
    return [Observation("bound", text, data)]
