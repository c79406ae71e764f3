"""A node whose toolchain and evaluator make results up from the source alone: `python -m tests.cluster.made_up_node`.

Arguments: the scheduler, the folder of the cache, the name, and a JSON of how it misbehaves: `slow`, how much longer an
examination takes; `full`, after how many builds its disk is full; `log`, a file with a line for each examination.
"""

import json
import sys
import time
from pathlib import Path

from evoflash import targets
from evoflash.cluster.node import Node
from evoflash.cluster.worker import Place, serve, worker_names
from evoflash.codegen.build_cache import BuildCache
from evoflash.codegen.toolchain import Build
from evoflash.evaluator import Evaluator
from tests.made_up import MadeUpBuild, MadeUpEvaluator, MadeUpToolchain

EXAMINATION_S = 0.005


class Toolchain(MadeUpToolchain):
    """One whose disk may be full. Its libraries are files that only this node finds, since their paths are relative."""

    def __init__(self, cache: Path, full: int | None):
        super().__init__(jitter=True)
        self.full = full
        self.cache = BuildCache(cache)
        self.known_ones: dict[str, Build] = {}

    def build(self, source):
        if self.full is not None and len(self.sources) >= self.full:
            raise self.cache.refused(OSError(28, "No space left on device"))
        build = super().build(source)
        return self._keep(source, build, f"machine code of {source.text}".encode())

    def known(self, source):
        return self.known_ones.get(source.digest)

    def adopt(self, source, build, library):
        with open("adopted", "a", encoding="utf-8") as file:
            file.write(f"{build.report.binary_digest}\n")
        return self._keep(source, build, library)

    def _keep(self, source, build, library):
        path = Path(f"{build.report.binary_digest}.so")
        path.write_bytes(library)
        self.known_ones[source.digest] = MadeUpBuild(build.report, path, max_spill_bytes=0)
        return self.known_ones[source.digest]


class Slow(MadeUpEvaluator):
    """One that takes its time, and keeps a record."""

    def __init__(self, *own, slow: float, log: str):
        super().__init__(*own)
        self.slow = slow
        self.log = log

    def examine(self, build, best_us, further=None):
        time.sleep(EXAMINATION_S * self.slow)
        if self.log:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(f"{build.library}\n")
        return super().examine(build, best_us, further)


def main(scheduler: str, cache: str, name: str, misbehaving: str) -> None:
    how = {"slow": 1.0, "full": None, "log": "", **json.loads(misbehaving)}
    made: list[Toolchain] = []

    def make_toolchain(target, folder, deadline_s):
        made.append(Toolchain(folder, how["full"]))
        return made[-1]

    def make_evaluator(plan, target):
        own = {name: Slow(each, made[-1], slow=how["slow"], log=how["log"]) for name, each in plan.problems.items()}
        return Evaluator(own)

    target = targets.detect("cpu")
    place = Place(scheduler, name, builders=2, patience_s=60)
    devices = dict(zip(worker_names(place, [target]), [target], strict=True))
    node = Node(Path(cache), devices, take_turns=True, make_toolchain=make_toolchain, make_evaluator=make_evaluator)
    serve(place, node, lambda words: print(words, file=sys.stderr, flush=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
