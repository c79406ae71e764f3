"""An encoder under `torch.compile(mode="reduce-overhead")`, with SDPA, with an export, and without any attention.

    python benchmarks/encoder.py my_attention

has 12 layers of mission's sizes: batch 1, 8 heads of 64, 512 tokens, float16. The share of attention is what the time
falls by when its output is replaced with q. A report, not a test.
"""

import copy
import importlib
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

LAYERS, HEADS, WIDTH, TOKENS = 12, 8, 512, 512
ROUNDS, CALLS = 40, 10
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class Layer(nn.Module):
    """A layer with the norms first."""

    def __init__(self) -> None:
        super().__init__()
        self.projections, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.feed_forward = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        self.attend: Attend = scaled_dot_product_attention

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) to the same."""
        heads = self.projections(self.norms[0](x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(self.attend(*heads.unbind(0)).transpose(1, 2).flatten(2))
        return x + self.feed_forward(self.norms[1](x))


def main() -> None:
    """Prints microseconds of a forward pass, the ratio, and the share of attention."""
    package = importlib.import_module(sys.argv[1])
    torch.manual_seed(0)
    base = nn.Sequential(*(Layer() for _ in range(LAYERS))).cuda().half().eval()
    x = torch.randn(1, TOKENS, WIDTH, device="cuda", dtype=torch.half)
    ways: dict[str, Attend] = {
        "SDPA": scaled_dot_product_attention,
        "package": lambda q, k, v: package.attention(q, k, v),
        "none": lambda q, k, v: q,
    }
    models, outputs = {}, {}
    with torch.no_grad():
        for name, attend in ways.items():
            model = copy.deepcopy(base)
            for layer in model:
                layer.attend = attend
            torch.compiler.reset()
            models[name] = torch.compile(model, mode="reduce-overhead")
            for _ in range(6):
                outputs[name] = models[name](x).clone()
        samples: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, model in models.items():
                torch.cuda.synchronize()
                begin = time.perf_counter()
                for _ in range(CALLS):
                    model(x)
                torch.cuda.synchronize()
                samples[name].append(1e6 * (time.perf_counter() - begin) / CALLS)
    us = {name: statistics.median(each) for name, each in samples.items()}
    print(f"largest difference {(outputs['SDPA'] - outputs['package']).abs().max().item():.1e}")
    print({name: round(each, 1) for name, each in us.items()}, f"{us['SDPA'] / us['package']:.3f}x")
    shares = {name: 1 - us["none"] / us[name] for name in ("SDPA", "package")}
    print("share of attention:", {name: f"{share:.1%}" for name, share in shares.items()})


if __name__ == "__main__":
    main()
