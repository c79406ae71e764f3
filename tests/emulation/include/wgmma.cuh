#pragma once

#include "numeric_types.cuh"

// Emulated: a thread computes its own accumulators, as late as their batch is waited for, or some batches at once.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

enum class Major { kK, kMN };

struct SmemDescriptor {
  unsigned address;
  int panel_stride;
};

constexpr int kNoPanelStride = 16;

inline SmemDescriptor make_smem_descriptor(unsigned address, int panel_stride) { return {address, panel_stride}; }
inline SmemDescriptor advance(SmemDescriptor descriptor, int bytes) {
  return {descriptor.address + bytes, descriptor.panel_stride};
}

inline void warpgroup_arrive() {}

template <int kPending>
inline void warpgroup_wait() {
  auto &batches = emulation::device.current->batches;
  for (; batches.size() > kPending; batches.pop_front())
    for (const auto &product : batches.front()) product();
}

template <int kPending>
inline void warpgroup_wait_behind(float, unsigned) {
  warpgroup_wait<kPending>();
}

inline void warpgroup_commit_batch() {
  auto &thread = *emulation::device.current;
  thread.batches.push_back(std::move(thread.open_batch));
  thread.open_batch.clear();
  if (threadIdx.x / 32 % 3 == 1) warpgroup_wait<0>();
}

template <int kTiles>
inline void warpgroup_fence_operand(float (&)[kTiles][4]) {}
template <int kTiles>
inline void warpgroup_fence_operand(unsigned (&)[kTiles][4]) {}

// An element of an operand: row by row along the sum (kK), or term by term across it (kMN).
template <class Element, Major kMajor>
inline float operand_at(SmemDescriptor descriptor, int row, int term) {
  const int bytes = kMajor == Major::kK
                        ? row / 8 * 1024 + row % 8 * 128 + term * 2
                        : row / 64 * descriptor.panel_stride + term / 8 * 1024 + term % 8 * 128 + row % 64 * 2;
  const unsigned address = descriptor.address + bytes;
  return to_float(*reinterpret_cast<const Element *>(emulation::pointer_of(address ^ (address >> 7 & 7) << 4)));
}

// acc (+)= A B, A(half, term) being the thread's two rows.
template <class Element, Major kMajorB, int kTiles, class A>
inline void product(float (*acc)[4], const A &a, SmemDescriptor b, int scale_d) {
  for (int t = 0; t < kTiles; ++t)
    for (int i = 0; i < 4; ++i) {
      float sum = scale_d != 0 ? acc[t][i] : 0.0f;
      for (int k = 0; k < 16; ++k)
        sum += a(i / 2, k) * operand_at<Element, kMajorB>(b, t * 8 + int(threadIdx.x) % 4 * 2 + i % 2, k);
      acc[t][i] = sum;
    }
}

template <class Element, Major kMajorB, int kTiles>
inline void wgmma_rs(float (&acc)[kTiles][4], const unsigned (&a)[4], SmemDescriptor b, int scale_d) {
  struct Words {
    unsigned at[4];
  };
  const auto &given = emulation::exchange(Words{{a[0], a[1], a[2], a[3]}});
  struct Rows {
    float at[2][16];
  } rows;
  for (int half = 0; half < 2; ++half)
    for (int k = 0; k < 16; ++k) {
      const auto words = emulation::from_lane<Words>(given, threadIdx.x % 32 / 4 * 4 + k % 8 / 2);
      rows.at[half][k] = to_float(static_cast<Element>(words.at[half + k / 8 * 2] >> k % 2 * 16));
    }
  emulation::device.current->open_batch.push_back([=, to = &acc[0]] {
    product<Element, kMajorB, kTiles>(to, [&](int half, int k) { return rows.at[half][k]; }, b, scale_d);
  });
}

template <class Element, Major kMajorB, int kTiles>
inline void wgmma_ss(float (&acc)[kTiles][4], SmemDescriptor a, SmemDescriptor b, int scale_d) {
  const int row = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
  emulation::device.current->open_batch.push_back([=, to = &acc[0]] {
    const auto a_at = [&](int half, int k) { return operand_at<Element, Major::kK>(a, row + half * 8, k); };
    product<Element, kMajorB, kTiles>(to, a_at, b, scale_d);
  });
}

}  // namespace evoflash
#endif
