#pragma once

#include "mbarrier.cuh"
#include "merge_columns.cuh"
#include "merge_pieces.cuh"
#include "smem_address.cuh"
#include "split/kernel_traits.cuh"

// What lies where in shared memory.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::split {

// Partial outputs that come to a block, some of them from other blocks, and the maximum and sum of their rows.
template <class Traits, Merge kMerge = Traits::kMerge>
struct PartialStorage {
  static constexpr int kPartialsBytes = 0, kStatsBytes = 0, kRemotePartialsBytes = 0;
};

// From each other block of the cluster, the columns that this one owns.
template <class Traits>
struct PartialStorage<Traits, Merge::kColumns> {
  using Exchange = ColumnExchange<typename Traits::ElementPartial, Traits::kValueDim, Traits::kCluster,
                                  Traits::kNumThreads, Traits::kRowsPerLane>;
  static constexpr int kSenderBytes = Exchange::kTileBytes;
  static constexpr int kPartialsBytes = (Traits::kCluster - 1) * kSenderBytes;
  static constexpr int kStatsBytes = (Traits::kCluster - 1) * Traits::kBlockM * int(sizeof(float2));
  static constexpr int kRemotePartialsBytes = kPartialsBytes;
};

// From each split, the rows that this block owns. They are counted in groups, the rows of a warp each.
template <class Traits>
struct PartialStorage<Traits, Merge::kRows> {
  using Pieces = PartialPieces<typename Traits::ElementPartial, Traits::kValueDim>;
  static constexpr int kRowGroups = Traits::kSplitWarps / Traits::kCluster;
  static constexpr int kGroupPieces = 32 * Traits::kRowsPerLane * Pieces::kPerRow;
  static constexpr int kPartialsBytes = Traits::kNumSplits * kRowGroups * kGroupPieces * Pieces::kBytes;
  static constexpr int kStatsBytes = Traits::kNumSplits * kRowGroups * Traits::kWarpM * int(sizeof(float2));
  static constexpr int kRemotePartialsBytes = kPartialsBytes / Traits::kCluster * (Traits::kCluster - 1);

  // Where a lane's piece of a row of a split lies.
  __device__ __forceinline__ static int piece_offset(int split, int group, int half, int piece, int lane) {
    const int row = (split * kRowGroups + group) * Traits::kRowsPerLane + half;
    return ((row * Pieces::kPerRow + piece) * 32 + lane) * Pieces::kBytes;
  }
};

// A block's shared memory: Q; of each split, its stages of K and V; partial outputs with their statistics; mbarriers.
template <class Traits>
struct SharedStorage {
  using Partials = PartialStorage<Traits>;
  static constexpr int kStages = Traits::kStages, kParts = Traits::kParts;

  static constexpr int kPartialsOffset =
      Traits::kQBytes + Traits::kSplitsPerBlock * kStages * (Traits::kKBytes + Traits::kVBytes);
  static constexpr int kBarriersOffset = kPartialsOffset + Partials::kPartialsBytes + Partials::kStatsBytes;

  // Barriers of Q; of each stage's parts of K, and its V; then, in a cluster, of what other blocks send.
  static constexpr int kStageBarriers = kParts + 1;
  static constexpr int kLoadBarriers = 1 + Traits::kSplitsPerBlock * kStages * kStageBarriers;
  static constexpr int kNumBarriers = kLoadBarriers + (Traits::kIsCluster ? 2 : 0);
  static_assert(kBarriersOffset + kNumBarriers * kMbarrierBytes == Traits::kSmemBytes,
                "the search space computes what the kernel takes");

  unsigned char *base;
  unsigned q, kv;           // addresses within shared memory
  unsigned char *partials;  // pointers for ordinary loads and stores
  float2 *stats;            // rows by splits, or where columns are merged, senders by rows

  // Barriers. A phase ends when the bytes have arrived.
  unsigned q_full, stats_full, partials_full;

  __device__ __forceinline__ explicit SharedStorage(unsigned char *base)
      : base(base),
        q(smem_address(base)),
        kv(q + Traits::kQBytes),
        partials(base + kPartialsOffset),
        stats(reinterpret_cast<float2 *>(partials + Partials::kPartialsBytes)),
        q_full(kv + (kBarriersOffset - Traits::kQBytes)),
        stats_full(q_full + kLoadBarriers * kMbarrierBytes),
        partials_full(stats_full + kMbarrierBytes) {}

  __device__ __forceinline__ unsigned k(int block_split, int stage) const {
    return kv + (block_split * kStages + stage) * (Traits::kKBytes + Traits::kVBytes);
  }
  __device__ __forceinline__ unsigned v(int block_split, int stage) const {
    return k(block_split, stage) + Traits::kKBytes;
  }

  __device__ __forceinline__ unsigned k_full(int block_split, int stage) const {
    return q_full + (1 + (block_split * kStages + stage) * kStageBarriers) * kMbarrierBytes;
  }
  __device__ __forceinline__ unsigned k_full(int block_split, int stage, int part) const {
    return k_full(block_split, stage) + part * kMbarrierBytes;
  }
  __device__ __forceinline__ unsigned v_full(int block_split, int stage) const {
    return k_full(block_split, stage) + kParts * kMbarrierBytes;
  }
};

}  // namespace evoflash::split
#endif
