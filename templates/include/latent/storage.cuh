#pragma once

#include "latent/kernel_traits.cuh"
#include "mbarrier.cuh"
#include "smem_address.cuh"

// What lies where in shared memory.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::latent {

// A block's shared memory: stages of keys; Q; scores, as sums over parts of a head's columns; their probabilities; what
// newer maxima do to older sums; maxima and sums of rows; what the blocks of the cluster send; mbarriers.
template <class Traits>
struct SharedStorage {
  static constexpr int kScoreBytes = Traits::kBlockM * Traits::kScoreStride * int(sizeof(float));
  static constexpr int kStatBytes = Traits::kBlockM * int(sizeof(float2));

  // Each block of a cluster owns as many rows.
  static constexpr int kPieces = Traits::kBlockM * Traits::kRowPieces;
  static constexpr int kOwnRows = Traits::kBlockM / Traits::kCluster;
  static constexpr int kOwnPieces = kPieces / Traits::kCluster;
  static_assert(Traits::kBlockM % Traits::kCluster == 0);
  static constexpr int kReceivedPieceBytes = Traits::kIsCluster ? kPieces * int(sizeof(uint4)) : 0;
  static constexpr int kReceivedStatBytes = Traits::kIsCluster ? kStatBytes : 0;

  static constexpr int kQOffset = Traits::kStages * Traits::kKeyBytes;
  static constexpr int kScoresOffset = kQOffset + Traits::kQBytes;
  static constexpr int kWeightsOffset = kScoresOffset + Traits::kDepthWarps * kScoreBytes;
  static constexpr int kCorrectionsOffset = kWeightsOffset + Traits::kBlockM * Traits::kWeightStride * 2;
  static constexpr int kStatsOffset = kCorrectionsOffset + Traits::kBlockM * int(sizeof(float));
  static constexpr int kReceivedOffset = kStatsOffset + kStatBytes;
  static constexpr int kReceivedStatsOffset = kReceivedOffset + kReceivedPieceBytes;
  static constexpr int kBarriersOffset = kReceivedStatsOffset + kReceivedStatBytes;

  // Barriers: of each stage; of what the cluster sends.
  static constexpr int kLoadBarriers = Traits::kIsTma ? Traits::kStages : 0;
  static constexpr int kBarriers = kLoadBarriers + (Traits::kIsCluster ? 1 : 0);
  static_assert(kBarriersOffset + kBarriers * kMbarrierBytes == Traits::kSmemBytes,
                "the search space computes what the kernel takes");

  unsigned char *base;

  __device__ __forceinline__ unsigned char *keys(int stage) const { return base + stage * Traits::kKeyBytes; }
  __device__ __forceinline__ unsigned char *q() const { return base + kQOffset; }

  // A row of scores, of the part-th sum.
  __device__ __forceinline__ float *scores(int part, int row) const {
    return reinterpret_cast<float *>(base + kScoresOffset + part * kScoreBytes) + row * Traits::kScoreStride;
  }
  __device__ __forceinline__ unsigned char *weights(int row) const {
    return base + kWeightsOffset + row * Traits::kWeightStride * 2;
  }
  __device__ __forceinline__ float *corrections() const { return reinterpret_cast<float *>(base + kCorrectionsOffset); }
  __device__ __forceinline__ float2 *stats() const { return reinterpret_cast<float2 *>(base + kStatsOffset); }

  // From a block of the cluster: its part of the rows that this one owns, and their maxima and sums.
  __device__ __forceinline__ uint4 *received(int rank) const {
    return reinterpret_cast<uint4 *>(base + kReceivedOffset) + rank * kOwnPieces;
  }
  __device__ __forceinline__ float2 *received_stats(int rank) const {
    return reinterpret_cast<float2 *>(base + kReceivedStatsOffset) + rank * kOwnRows;
  }

  // Phases end when the bytes have arrived.
  __device__ __forceinline__ unsigned full(int stage) const {
    return smem_address(base) + kBarriersOffset + stage * kMbarrierBytes;
  }
  __device__ __forceinline__ unsigned received_full() const { return full(kLoadBarriers); }
};

}  // namespace evoflash::latent
#endif
