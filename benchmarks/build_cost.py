"""What a build takes of the processors, by family and by part.

    python benchmarks/build_cost.py --shape mission --arch sm_90a --count 12

builds random genomes of every CUDA family, one after the other, from an empty cache, and prints the milliseconds of
processor time that a build takes on average: of the compiler of device code, which stays loaded, of the programs that
make the launcher, and of this process. Other programs on the machine change these less than they change seconds. A
report, not a test: the numbers are this machine's. To compare two commits, run them by turns.
"""

import argparse
import json
import random
import resource
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from evoflash.codegen.source import Source
from evoflash.codegen.template import Template, load_all
from evoflash.codegen.toolchain import Toolchain
from evoflash.problems import Problem, attention
from evoflash.targets import cuda


def main() -> None:
    """Prints a line of JSON for each family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="mission")
    parser.add_argument("--arch", default="sm_90a")
    parser.add_argument("--count", type=int, default=12, help="genomes of each family")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    target, problem = cuda.of_arch(arguments.arch), attention.parse(arguments.shape)
    with tempfile.TemporaryDirectory() as cache:
        toolchain = Toolchain(target, Path(cache), many=True)
        for template in load_all().values():
            if template.manifest.target != "cuda" or template.refusals(problem, target.facts):
                continue
            first, *sources = _sources(template, problem, target.facts, arguments.count + 1, arguments.seed)
            toolchain.build(first)  # what is done once
            before = _spent_ms()
            built = [toolchain.build(each) for each in sources]
            spent = {part: (ms - before[part]) / len(built) for part, ms in _spent_ms().items()}
            line = {part: round(ms) for part, ms in {**spent, "all": sum(spent.values())}.items()}
            failed = sum(each.library is None for each in built)
            print(json.dumps({"family": template.family, "builds": len(built), "failed": failed, **line}), flush=True)
        toolchain.stop()


def _sources(
    template: Template, problem: Problem, device: Mapping[str, Any], count: int, seed: int
) -> Iterator[Source]:
    """Random genomes of a family, rendered."""
    space, rng = template.space([problem], device), random.Random(seed)
    return (template.render(space.sample(rng), problem, device) for _ in range(count))


def _spent_ms() -> dict[str, float]:
    """Processor time so far, in milliseconds."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    loaded = [each.cpu_times() for each in psutil.Process().children()]
    return {
        "device": 1e3 * sum(each.user + each.system for each in loaded),
        "launcher": 1e3 * (ended.ru_utime + ended.ru_stime),
        "own": 1e3 * (own.ru_utime + own.ru_stime),
    }


if __name__ == "__main__":
    main()
