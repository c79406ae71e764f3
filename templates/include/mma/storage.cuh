#pragma once

#include "mbarrier.cuh"
#include "merge_columns.cuh"
#include "merge_pieces.cuh"
#include "mma/kernel_traits.cuh"
#include "smem_address.cuh"
#include "smem_tile.cuh"

// The layout of a block's shared memory: Q; of each slice the stages of K and V; the partial outputs that other blocks
// send; the statistics (offset, row_sum) of partial outputs; mbarriers.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::mma {

enum class Operand { kK, kV };

// The places of partial outputs and statistics. kSliceBytes is what a slice takes whose K and V take kTilesBytes.
template <class Traits, int kTilesBytes, Merge = Traits::kMerge>
struct PartialsLayout {  // Merge::kNone
  static constexpr int kSliceBytes = kTilesBytes;
  static constexpr int kPartialsBytes = 0, kStatsBytes = 0;
};

template <class Traits, int kTilesBytes>
struct PartialsLayout<Traits, kTilesBytes, Merge::kWarps> {
  using Pieces = PartialPieces<typename Traits::ElementPartial, Traits::kValueDim>;
  static constexpr int kNumSlices = Traits::kWarpsN;   // that are merged here
  static constexpr int kMergedRows = Traits::kBlockM;  // by this block
  static constexpr int kPartialBytes = kMergedRows / 8 * 32 * Pieces::kPerRow * Pieces::kBytes;
  static constexpr int kSliceBytes = kTilesBytes > kPartialBytes ? kTilesBytes : kPartialBytes;
  static constexpr int kPartialStride = kSliceBytes;  // a partial output takes the place of its slice's K and V
  static constexpr int kPartialsBytes = 0;
  static constexpr int kStatsBytes = kNumSlices * kMergedRows * int(sizeof(float2));  // slices by rows
};

// Each block of the cluster merges its share of the rows, in groups of eight, over the slices of all blocks.
template <class Traits, int kTilesBytes>
struct PartialsLayout<Traits, kTilesBytes, Merge::kClusterRows> {
  using Pieces = PartialPieces<typename Traits::ElementPartial, Traits::kValueDim>;
  static constexpr int kNumSlices = Traits::kWarpsN * Traits::kNumSplits;
  static constexpr int kMergedRows = Traits::kBlockM / Traits::kNumSplits;
  static constexpr int kPartialBytes = kMergedRows / 8 * 32 * Pieces::kPerRow * Pieces::kBytes;
  static constexpr int kSliceBytes = kTilesBytes;
  static constexpr int kPartialStride = kPartialBytes;
  static constexpr int kPartialsBytes = kNumSlices * kPartialBytes;
  static constexpr int kStatsBytes = kNumSlices * kMergedRows * int(sizeof(float2));  // slices by rows
};

template <class Traits, int kTilesBytes>
struct PartialsLayout<Traits, kTilesBytes, Merge::kClusterColumns> {
  using Exchange =
      ColumnExchange<typename Traits::ElementPartial, Traits::kValueDim, Traits::kNumSplits, Traits::kNumThreads, 2>;
  static constexpr int kSenderBytes = Traits::kTilesM * Exchange::kTileBytes;
  static constexpr int kSliceBytes = kTilesBytes;
  static constexpr int kPartialsBytes = (Traits::kNumSplits - 1) * kSenderBytes;
  static constexpr int kStatsBytes = (Traits::kNumSplits - 1) * Traits::kBlockM * int(sizeof(float2));  // by sender
};

template <class Traits>
struct SharedStorage {
  using Tile = SmemTile<Traits::kHeadDim>;        // of Q and K
  using ValueTile = SmemTile<Traits::kValueDim>;  // of V
  static constexpr int kRowBytes = Tile::kPanels * Tile::kPanelRowBytes;
  static constexpr int kQBytes = Traits::kBlockM * kRowBytes;
  static constexpr int kKBytes = Traits::kWarpN * kRowBytes;  // of a slice's stage
  static constexpr int kVBytes = Traits::kWarpN * ValueTile::kPanels * ValueTile::kPanelRowBytes;
  static constexpr int kStageBytes = kKBytes + kVBytes;
  static_assert(!Traits::kIsTma || Tile::Panel::kIsSwizzled == ValueTile::Panel::kIsSwizzled,
                "TMA swizzles by address: rows without a swizzle move those that follow");

  using Partials = PartialsLayout<Traits, Traits::kStages * kStageBytes>;
  static constexpr int kSlicesBytes = Traits::kWarpsN * Partials::kSliceBytes;

  // Barriers of TMA: of Q; of each slice's K and V, one for each stage and chunk. Then those of the statistics and of
  // the partial outputs from other blocks.
  static constexpr int kStageBarriers = 2 * Traits::kChunks;
  static constexpr int kLoadBarriers = Traits::kIsTma ? 1 + Traits::kWarpsN * Traits::kStages * kStageBarriers : 0;
  static constexpr int kBarriers = kLoadBarriers + (Traits::kIsCluster ? 2 : Traits::kEarlyStats ? 1 : 0);

  static_assert(kQBytes + kSlicesBytes + Partials::kPartialsBytes + Partials::kStatsBytes +
                        kBarriers * kMbarrierBytes ==
                    Traits::kSmemBytes,
                "the search space computes what the kernel takes");

  unsigned char *base;

  __device__ __forceinline__ unsigned char *q() const { return base; }
  // K and V of a slice's stage.
  __device__ unsigned char *k(int slice, int stage) const {
    return base + kQBytes + slice * Partials::kSliceBytes + stage * kStageBytes;
  }
  __device__ unsigned char *v(int slice, int stage) const { return k(slice, stage) + kKBytes; }

  __device__ __forceinline__ unsigned char *partials() const {
    return base + kQBytes + (Traits::kIsCluster ? kSlicesBytes : 0);
  }
  __device__ __forceinline__ float2 *stats() const {
    return reinterpret_cast<float2 *>(base + kQBytes + kSlicesBytes + Partials::kPartialsBytes);
  }

  __device__ __forceinline__ unsigned barriers() const {
    return smem_address(base) + Traits::kSmemBytes - kBarriers * kMbarrierBytes;
  }
  __device__ __forceinline__ unsigned q_barrier() const { return barriers(); }
  __device__ unsigned k_barrier(int slice, int stage) const {
    return barriers() + (1 + (slice * Traits::kStages + stage) * kStageBarriers) * kMbarrierBytes;
  }
  __device__ unsigned v_barrier(int slice, int stage) const {
    return k_barrier(slice, stage) + Traits::kChunks * kMbarrierBytes;
  }
  __device__ __forceinline__ unsigned stats_barrier() const { return barriers() + kLoadBarriers * kMbarrierBytes; }
  __device__ __forceinline__ unsigned partials_barrier() const { return stats_barrier() + kMbarrierBytes; }
};

}  // namespace evoflash::mma
#endif
