#pragma once

// Matrix products of a warpgroup, four warps (wgmma, sm_90a), which run asynchronously: 64 rows, 16-bit operands, float
// accumulators.
//
// An accumulator of 64 x 8 is four floats a lane. Warp w holds rows 16 w to 16 w + 15; lane 4 g + c holds columns 2c
// and 2c + 1 of row g, then of row g + 8. A operands in registers are those of mma.sync: four words of 16 x 16
// elements, at rows g and g + 8 of columns 2c, then of columns 2c + 8.
//
// Other operands lie in shared memory, in panels (tma.cuh) with rows of 128 bytes, and are named by descriptors (PTX
// ISA, "Matrix Descriptor"):
//   bits  0-13  address / 16
//   bits 16-29  bytes / 16 from panel to panel, for operands that are MN-major (otherwise not read)
//   bits 32-45  bytes / 16 from eight rows to the next eight: 1024 / 16
//   bits 62-63  1: 128-byte swizzle
// The swizzle takes address bits 7 to 9 into bits 4 to 6. So a descriptor may start anywhere in a row's 128 bytes as
// long as panels start on multiples of 1024. Of the last panel of an MN-major operand, as many columns are read as N
// has left.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

using SmemDescriptor = unsigned long long;

constexpr int kEightRowsBytes = 1024;

// For operands that are K-major: their rows, along the sum, end with the panel.
constexpr int kNoPanelStride = 16;

// The descriptor of a panel. The lowest 18 bits of its address count: in a cluster, those from the 24th on are the
// block's rank.
__device__ __forceinline__ SmemDescriptor make_smem_descriptor(unsigned address, int panel_stride) {
  return SmemDescriptor((address & 0x3ffff) >> 4) | SmemDescriptor(panel_stride >> 4) << 16 |
         SmemDescriptor(kEightRowsBytes >> 4) << 32 | SmemDescriptor(1) << 62;
}

// The descriptor of what lies `bytes` further on. Addresses end below 2^18, so no carry leaves their field.
__device__ __forceinline__ SmemDescriptor advance(SmemDescriptor descriptor, int bytes) {
  return descriptor + (bytes >> 4);
}

// Comes before the first product after accumulators or operands in registers were written (wgmma.fence).
__device__ __forceinline__ void warpgroup_arrive() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

// Closes a batch: all products since the last commit.
__device__ __forceinline__ void warpgroup_commit_batch() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Waits until at most kPending of the latest batches are in flight.
template <int kPending>
__device__ __forceinline__ void warpgroup_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// The same wait, behind the arithmetic that a number comes from, which is never negative. ptxas keeps the order of
// waits and of accesses to memory, but moves arithmetic that does not read the accumulators behind a wait, where it no
// longer runs beside the products. So there is a store ahead of the wait that depends on the number, and never happens.
template <int kPending>
__device__ __forceinline__ void warpgroup_wait_behind(float non_negative, unsigned smem) {
  asm volatile(
      "{\n"
      ".reg .pred is_negative;\n"
      "setp.lt.f32 is_negative, %0, 0f00000000;\n"
      "@is_negative st.shared.b32 [%1], 0;\n"
      "}" ::"f"(non_negative),
      "r"(smem)
      : "memory");
  warpgroup_wait<kPending>();
}

// Comes right after a wait: keeps the compiler from reading these registers before, and from using them for anything
// else while the products are in flight.
template <int kTiles>
__device__ __forceinline__ void warpgroup_fence_operand(float (&acc)[kTiles][4]) {
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(acc[t][i])::"memory");
}

template <int kTiles>
__device__ __forceinline__ void warpgroup_fence_operand(unsigned (&a)[kTiles][4]) {
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+r"(a[t][i])::"memory");
}

// How an operand's rows lie in shared memory: along the sum (K) or across it (M, N).
enum class Major { kK, kMN };

// acc = A B, or acc += A B if scale_d is not 0, over 16 terms of the sum: 64 x 8 kTiles accumulators; A in registers
// (rs) or in shared memory, K-major (ss); B in shared memory. The instruction spells out every accumulator, which C++
// cannot do for a number that is a parameter. So a kernel defines the specialisations that it needs (wgmma.j2).
template <class Element, Major kMajorB, int kTiles>
__device__ __forceinline__ void wgmma_rs(float (&acc)[kTiles][4], const unsigned (&a)[4], SmemDescriptor b,
                                         int scale_d);

template <class Element, Major kMajorB, int kTiles>
__device__ __forceinline__ void wgmma_ss(float (&acc)[kTiles][4], SmemDescriptor a, SmemDescriptor b, int scale_d);

}  // namespace evoflash
#endif
