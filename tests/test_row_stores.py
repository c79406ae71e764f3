"""What of a row the lanes of a warp store, with a thread of the host for each lane."""

import shlex
import subprocess

from evoflash.codegen.template import load
from evoflash.targets.base import cxx

WARP = """
#include <barrier>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>
#define __device__
#define __forceinline__ inline
struct uint2 { unsigned x, y; };
struct uint4 { unsigned x, y, z, w; };
struct float2 { float x, y; };
uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
float2 make_float2(float x, float y) { return {x, y}; }
float __uint_as_float(unsigned);
unsigned __float_as_uint(float);
thread_local struct { unsigned x; } threadIdx;

std::barrier everyone(32);
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  static T values[32];
  values[threadIdx.x] = value;
  everyone.arrive_and_wait();
  const T received = values[threadIdx.x ^ mask];
  everyone.arrive_and_wait();
  return received;
}
#include "row_stores.cuh"

struct Element { unsigned short bits; };
template <>
unsigned evoflash::pack<Element>(float low, float high) { return unsigned(low) | unsigned(high) << 16; }

constexpr int kRows = 8, kColumns = 128;
unsigned short out[kRows][kColumns];

// Lane 4 g + c has columns 2c and 2c + 1 of row g; an element's value is 1 + 100 g + its column.
template <int kTiles, int kStoreBytes>
void store(int num_tiles) {
  std::memset(out, 0, sizeof out);
  std::vector<std::thread> lanes;
  for (unsigned lane = 0; lane < 32; ++lane)
    lanes.emplace_back([=] {
      threadIdx.x = lane;
      float columns[kTiles][2];
      for (int t = 0; t < kTiles; ++t)
        for (int i = 0; i < 2; ++i) columns[t][i] = 1 + 100 * (lane / 4) + 8 * t + 2 * (lane % 4) + i;
      unsigned char *const row = reinterpret_cast<unsigned char *>(out[lane / 4]);
      evoflash::store_row<Element, kStoreBytes>(row, columns, lane / 4 != 5, num_tiles);
    });
  for (auto &lane : lanes) lane.join();
  for (int row = 0; row < kRows; ++row)
    for (int column = 0; column < kColumns; ++column) {
      const int expected = row != 5 && column < 8 * num_tiles ? 1 + 100 * row + column : 0;
      if (out[row][column] != expected) std::printf("row %d, column %d: %d\\n", row, column, out[row][column]);
    }
}
template <int kStoreBytes>
void store_all() {
  store<4, kStoreBytes>(4);
  store<9, kStoreBytes>(9);
  store<6, kStoreBytes>(6);
  store<4, kStoreBytes>(1);
  store<5, kStoreBytes>(3);
  store<2, kStoreBytes>(0);
}
int main() {
  store_all<4>();
  store_all<8>();
  store_all<16>();
}
"""


def test_as_many_tiles_of_a_row_are_stored_as_it_has(tmp_path):
    binary = str(tmp_path / "stores")
    includes = [f"-I{folder}" for folder in load("split").include_folders]
    command = [*shlex.split(cxx()), "-std=c++20", "-pthread", "-DEVOFLASH_DEVICE_ONLY", *includes, "-x", "c++", "-"]
    subprocess.run([*command, "-o", binary], input=WARP, text=True, check=True, capture_output=True, timeout=60)
    assert subprocess.run([binary], text=True, check=True, capture_output=True, timeout=60).stdout == ""
