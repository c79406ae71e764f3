"""What a proposal costs on the real spaces: evolution asked and told in memory, no kernel built.

    python benchmarks/proposals.py --shape mission --budget 200

All CUDA families of a Hopper compete for the shape; a genome's time is made up: a sum over its genes, with weights
drawn by the seed. Two dozen proposals are in flight, as on 16 cores. Prints the mean of asking and telling.
"""

import argparse
import random
import sys
import time

from evoflash.codegen.template import load_all
from evoflash.core.archive import Archive
from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation, Timing
from evoflash.core.status import Stage, Status
from evoflash.problems import attention
from evoflash.proposers.evolution import EvolutionProposer
from evoflash.targets import cuda

IN_FLIGHT = 24
L2_BYTES = 50 << 20
REACH = 0.15  # of a gene's weight for each step


def main() -> int:
    """0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="mission")
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    problem = attention.parse(arguments.shape)
    facts = {**cuda.of_arch("sm_90a").facts, "multiprocessors": 132, "l2_bytes": L2_BYTES}
    spaces = {
        family: template.space([problem], facts)
        for family, template in load_all().items()
        if template.manifest.target == "cuda" and not template.refusals(problem, facts)
    }
    rng = random.Random(arguments.seed)
    weights = {
        family: {name: rng.uniform(-REACH, REACH) for name in space.parameters} for family, space in spaces.items()
    }

    def result(candidate: Candidate) -> Evaluation:
        parameters = spaces[candidate.family].parameters
        weight = weights[candidate.family]
        away = sum(weight[name] * each.place(candidate.genome[name]) for name, each in parameters.items())
        p50 = 4 * (1 + abs(away))
        timing = Timing(regime="warm", p50_us=p50, p90_us=p50, p99_us=p50, launches=1)
        return Evaluation(status=Status.OK, stage=Stage.FULL, timings=(timing,))

    proposer, archive = EvolutionProposer(spaces, arguments.seed), Archive()
    waiting: list[Candidate] = []
    began = time.perf_counter()
    for number in range(arguments.budget):
        proposal = proposer.ask(archive)
        if proposal is None:
            break
        archive.propose(proposal.family, proposal.genome)
        waiting.append(proposal.numbered(number))
        if len(waiting) > IN_FLIGHT:
            first = waiting.pop(0)
            proposer.tell(archive.add(first, result(first)))
    spent = time.perf_counter() - began
    each_ms = 1e3 * spent / arguments.budget
    print(f"{arguments.budget} proposals of {len(spaces)} families for {arguments.shape}: {each_ms:.1f} ms each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
