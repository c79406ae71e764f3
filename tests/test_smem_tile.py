"""Tiles of every head size in shared memory: copies and ldmatrix agree on the addresses, without bank conflicts."""

import shlex
import shutil
import subprocess
from pathlib import Path

from evoflash.targets.base import cxx

ROOT = Path(__file__).parents[1]
# In place of the header with cp.async's instructions.
RECORDED = """
#pragma once
namespace evoflash {
inline void cp_async(void *smem, const void *gmem, bool pred) {
  copies.push_back({static_cast<const unsigned char *>(smem), static_cast<const unsigned char *>(gmem), pred});
}
}  // namespace evoflash
"""


def run(folder: Path, header: str) -> str:
    """What the fixture says of this text of smem_tile.cuh: nothing if all addresses are right."""
    (folder / "smem_tile.cuh").write_text(header)
    (folder / "cp_async.cuh").write_text(RECORDED)
    shutil.copy(ROOT / "tests/fixtures/smem_tile.cpp", folder)
    command = [*shlex.split(cxx()), "-std=c++17", "smem_tile.cpp", "-o", "smem_tile"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    done = subprocess.run([folder / "smem_tile"], capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1), done.returncode
    return done.stdout


def test_copies_and_ldmatrix_agree_on_every_head_size(tmp_path):
    header = (ROOT / "templates/include/smem_tile.cuh").read_text()
    assert run(tmp_path, header) == ""


def test_an_even_number_of_units_would_meet_bank_conflicts(tmp_path):
    header = (ROOT / "templates/include/smem_tile.cuh").read_text()
    padded = "(kHeadDim / 8 | 1) * 8"
    assert padded in header
    assert "meet_no_conflict" in run(tmp_path, header.replace(padded, "kHeadDim"))
