"""What a proposal costs on the real spaces: evolution asked and told in memory, no kernel built.

    python benchmarks/proposals.py --shape mission --budget 2000

All CUDA families of a Hopper compete for the shape; a genome's time is made up: a sum over its genes, with weights
drawn by the seed, and one in seven is wrong. Sixty proposals are in flight, as with one GPU. Prints the mean processor
time of asking and telling, and that of each quarter.
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

WRONG = 7  # one of so many
L2_BYTES = 50 << 20
REACH = 0.15  # of a gene's weight for each step


def main() -> int:
    """0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="mission")
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--in-flight", type=int, default=60)
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
        if int(candidate.genome.digest, 16) % WRONG == 0:
            return Evaluation(status=Status.WRONG, stage=Stage.CORRECTNESS, reason="made up")
        parameters = spaces[candidate.family].parameters
        weight = weights[candidate.family]
        away = sum(weight[name] * each.place(candidate.genome[name]) for name, each in parameters.items())
        p50 = 4 * (1 + abs(away))
        timing = Timing(regime="warm", p50_us=p50, p90_us=p50, p99_us=p50, launches=1)
        return Evaluation(status=Status.OK, stage=Stage.FULL, timings=(timing,))

    proposer, archive = EvolutionProposer(spaces, arguments.seed), Archive()
    waiting: list[Candidate] = []
    moments = [time.process_time()]
    for number in range(arguments.budget):
        proposal = proposer.ask(archive)
        if proposal is None:
            break
        archive.propose(proposal.family, proposal.genome)
        waiting.append(proposal.numbered(number))
        if len(waiting) > arguments.in_flight:
            first = waiting.pop(0)
            proposer.tell(archive.add(first, result(first)))
        moments.append(time.process_time())
    quarter = (len(moments) - 1) // 4
    quarters = [1e3 * (moments[(n + 1) * quarter] - moments[n * quarter]) / quarter for n in range(4)]
    each_ms = 1e3 * (moments[-1] - moments[0]) / (len(moments) - 1)
    print(
        f"{len(moments) - 1} proposals of {len(spaces)} families for {arguments.shape}: {each_ms:.2f} ms each; by "
        f"quarters {', '.join(f'{each:.2f}' for each in quarters)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
