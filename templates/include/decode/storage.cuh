#pragma once

#include "decode/kernel_traits.cuh"
#include "mbarrier.cuh"
#include "smem_address.cuh"

// What lies where in shared memory.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::decode {

// A block's shared memory: each warp's stages of K and V; Q; the maxima and sums of each warp's rows; what the other
// blocks of the cluster send; mbarriers. In the end, a warp's partial output takes the place of its K and V.
template <class Traits>
struct SharedStorage {
  static constexpr int kWarpBytes = Traits::kStages * 2 * Traits::kKvBytes;

  // Rows of partial outputs are padded, so that the lanes that write a tile's eight columns of two rows each, 2 c and
  // 2 c + 1, hit different banks.
  static constexpr int kPartialStride = Traits::kTilesHead * 16 + 4;  // floats
  static_assert(Traits::kBlockM * kPartialStride * int(sizeof(float)) <= kWarpBytes);

  // Pieces of a merged output: four columns in floats. Each block of a cluster owns as many.
  static constexpr int kPieces = Traits::kBlockM * Traits::kHeadDim / 4;
  static constexpr int kOwnPieces = kPieces / Traits::kCluster;
  static_assert(kPieces % Traits::kCluster == 0);
  static constexpr int kReceivedPieceBytes = Traits::kIsCluster ? kPieces * int(sizeof(float4)) : 0;
  static constexpr int kReceivedStatBytes =
      Traits::kIsCluster ? Traits::kCluster * Traits::kBlockM * int(sizeof(float2)) : 0;

  static constexpr int kQOffset = Traits::kWarps * kWarpBytes;
  static constexpr int kStatsOffset = kQOffset + Traits::kQBytes;
  static constexpr int kReceivedOffset = kStatsOffset + Traits::kWarps * Traits::kBlockM * int(sizeof(float2));
  static constexpr int kReceivedStatsOffset = kReceivedOffset + kReceivedPieceBytes;
  static constexpr int kBarriersOffset = kReceivedStatsOffset + kReceivedStatBytes;

  // Barriers: of K and of V of each warp's stages; of what the cluster sends.
  static constexpr int kLoadBarriers = Traits::kIsTma ? Traits::kWarps * Traits::kStages * 2 : 0;
  static constexpr int kBarriers = kLoadBarriers + (Traits::kIsCluster ? 1 : 0);
  static_assert(kBarriersOffset + kBarriers * kMbarrierBytes == Traits::kSmemBytes,
                "the search space computes what the kernel takes");

  unsigned char *base;

  __device__ __forceinline__ unsigned char *k(int warp, int stage) const {
    return base + warp * kWarpBytes + stage * 2 * Traits::kKvBytes;
  }
  __device__ __forceinline__ unsigned char *v(int warp, int stage) const { return k(warp, stage) + Traits::kKvBytes; }
  __device__ __forceinline__ unsigned char *q() const { return base + kQOffset; }

  // Of a warp's partial output: a row, and the rows' maxima and sums.
  __device__ __forceinline__ float *partial(int warp, int row) const {
    return reinterpret_cast<float *>(base + warp * kWarpBytes) + row * kPartialStride;
  }
  __device__ __forceinline__ float2 *stats(int warp) const {
    return reinterpret_cast<float2 *>(base + kStatsOffset) + warp * Traits::kBlockM;
  }

  // From a block of the cluster: the pieces that this one owns, and the maxima and sums of all rows.
  __device__ __forceinline__ float4 *received(int rank) const {
    return reinterpret_cast<float4 *>(base + kReceivedOffset) + rank * kOwnPieces;
  }
  __device__ __forceinline__ float2 *received_stats(int rank) const {
    return reinterpret_cast<float2 *>(base + kReceivedStatsOffset) + rank * Traits::kBlockM;
  }

  // Phases end when the bytes have arrived.
  __device__ __forceinline__ unsigned k_full(int warp, int stage) const {
    return smem_address(base) + kBarriersOffset + (warp * Traits::kStages + stage) * 2 * kMbarrierBytes;
  }
  __device__ __forceinline__ unsigned v_full(int warp, int stage) const { return k_full(warp, stage) + kMbarrierBytes; }
  __device__ __forceinline__ unsigned received_full() const {
    return smem_address(base) + kBarriersOffset + kLoadBarriers * kMbarrierBytes;
  }
};

}  // namespace evoflash::decode
#endif
