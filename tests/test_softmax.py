"""The softmax of kernels on tensor cores, on an emulated device: scores of any magnitude, whichever way they come."""

import ctypes
import math
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from evoflash.targets.base import cxx

ROOT = Path(__file__).parents[1]
HEADERS = ("softmax.cuh", "split_scales.cuh", "warp.cuh", "log2e.h")
SCALE = 0.125 / math.log(2)
WAYS = ((0, 0), (1, 0), (1, 8), (2, 0), (2, 8))  # and thresholds; the first takes one step a warp
TOLERANCE = 2e-4  # of values of order 1: an offset's rounding where it is largest


def build(folder: Path, change: Callable[[str], str] = str) -> ctypes.CDLL:
    """The fixture with a text of softmax.cuh."""
    for header in HEADERS:
        shutil.copy(ROOT / "templates/include" / header, folder)
    header = folder / "softmax.cuh"
    header.write_text(change(header.read_text()))
    command = [*shlex.split(cxx()), "-std=c++17", "-O1", "-fPIC", "-shared", "-w", "-ffp-contract=off"]
    folders = [f"-I{folder}", f"-I{ROOT / 'tests/emulation/include'}", f"-I{ROOT / 'tests/emulation'}"]
    library = folder / "softmax.so"
    source = ROOT / "tests/fixtures/softmax.cpp"
    subprocess.run([*command, *folders, str(source), "-o", str(library)], check=True, timeout=120)
    return ctypes.CDLL(str(library))


def error(library: ctypes.CDLL, scores: torch.Tensor, way: int, threshold: int) -> float:
    """The largest error of sums over the keys against float64; inf for a NaN."""
    values = torch.randn(scores.shape[1], generator=torch.Generator().manual_seed(1))
    out = torch.full((16,), math.nan)
    pointers = [ctypes.c_void_p(each.data_ptr()) for each in (scores, values, out)]
    library.compute(way, threshold, *pointers[:2], scores.shape[1], ctypes.c_float(SCALE), pointers[2])
    weights = torch.softmax(scores.double() * (SCALE * math.log(2)), dim=1).nan_to_num(0.0)
    return (out.double() - weights @ values.double()).abs().max().nan_to_num(math.inf).item()


def rows(keys: int) -> dict[str, torch.Tensor]:
    """Scores (16, keys) by what they show."""
    normal = 8 * torch.randn(16, keys, generator=torch.Generator().manual_seed(2))
    digits = (normal * 8).round() / 64  # few of them: huge scores are exact, and some are equal
    later, hidden = normal.clone(), normal.clone()
    later[:, keys // 2 :] *= 2.0**60
    later[:8, -1] = 2.0**120
    hidden[:, : keys // 2] = -math.inf
    hidden[3] = -math.inf
    hidden[5, -1] = 2.0**80
    close = 2.0**40 * (1 + torch.arange(16)[:, None] / 16).repeat(1, keys)
    close[:, -1] = close[:, -1].nextafter(torch.tensor(math.inf))
    growing = torch.linspace(32000, 33500, keys).round() / 4 + normal.round() / 4
    return {
        "normal": normal,
        "huge": digits * 2.0**70,
        "huge, of one sign": digits.abs() * 2.0**33,
        "huge and negative": (-1 - digits.abs()) * 2.0**70,
        "at the end of float32": digits.sign() * torch.finfo(torch.float32).max,
        "one bit apart": close,
        "huge after others": later,
        "past the largest offset": growing * 2.0**14 / SCALE,
        "and below zero": growing.flip(1) * -(2.0**14) / SCALE,
        "near the largest offset": (2.0**27 + normal.round() * 64) / SCALE,
        "hidden": hidden,
    }


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("softmax"))


@pytest.mark.parametrize(("way", "threshold"), WAYS)
def test_sums_are_right_for_scores_of_any_magnitude(library, way, threshold):
    wrong = {name: error(library, scores, way, threshold) for name, scores in rows(256 if way else 64).items()}
    assert {name: each for name, each in wrong.items() if not each < TOLERANCE} == {}


@pytest.mark.parametrize(
    ("correct", "mistake", "shown"),
    [
        ("kVeryLargeOffset = 0x1p27f;", "kVeryLargeOffset = 0x1p127f;", "huge, of one sign"),
        ("return is_very_large(offset) ? power_of_two : log2;", "return log2;", "huge, of one sign"),
        ("kNoMaximum = -0x1.fffffep127f", "kNoMaximum = -INFINITY", "hidden"),
    ],
)
def test_mistakes_show(correct, mistake, shown, tmp_path):
    def change(header: str) -> str:
        assert header.count(correct) == 1
        return header.replace(correct, mistake)

    library, scores = build(tmp_path, change), rows(256)
    assert error(library, scores["normal"], 1, 0) < TOLERANCE
    assert not error(library, scores[shown], 1, 0) < TOLERANCE
