#pragma once

#include "cluster.cuh"
#include "merge_pieces.cuh"
#include "split/gemm.cuh"
#include "split/storage.cuh"
#include "split/tile_coord.cuh"
#include "softmax.cuh"
#include "split/output_tile.cuh"
#include "split_scales.cuh"

// Merges the partial outputs of all splits by rows, in the shared memory of the block that owns them.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::split {

// The warp's partial output, piece by piece, to where its rows are merged: `write` takes an offset and a piece.
template <class Traits, class Write>
__device__ __forceinline__ void write_partial(const TileCoord<Traits> &coord, int group,
                                              const float (&acc_o)[Traits::kTilesValue][4],
                                              const float (&factor)[Traits::kRowsPerLane], const Write &write) {
  using Partials = PartialStorage<Traits>;
#pragma unroll
  for (int half = 0; half < Traits::kRowsPerLane; ++half)
#pragma unroll
    for (int piece = 0; piece < Partials::Pieces::kPerRow; ++piece)
      write(Partials::piece_offset(coord.split, group, half, piece, threadIdx.x % 32),
            Partials::Pieces::of(acc_o, piece, half, factor[half]));
}

// Gives the warp's statistics, then its partial output, to the block that owns its rows.
template <class Traits>
__device__ __forceinline__ void give_partial(const SharedStorage<Traits> &smem, const TileCoord<Traits> &coord,
                                             float (&acc_o)[Traits::kTilesValue][4], const RowSoftmax<Traits> &softmax,
                                             POperand<Traits> (&p)[Traits::kParts],
                                             const float (&factor)[Traits::kRowsPerLane]) {
  using Partials = PartialStorage<Traits>;
  const int owner = coord.warp_row / Traits::kWarpM / Partials::kRowGroups;
  const int group = coord.warp_row / Traits::kWarpM % Partials::kRowGroups;
  const auto stats_place = [&](int half) {
    return (group * Traits::kWarpM + half * 8 + coord.lane / 4) * Traits::kNumSplits + coord.split;
  };
  const auto write_here = [&](int offset, uint4 piece) { *reinterpret_cast<uint4 *>(smem.partials + offset) = piece; };

  if constexpr (Traits::kIsCluster) {
    const unsigned remote = remote_address(smem_address(smem.partials), owner);
    cluster_wait();  // for the barriers of all blocks to be initialised, which they are by now
    if (coord.lane % 4 == 0)
#pragma unroll
      for (int half = 0; half < Traits::kRowsPerLane; ++half)
        store_remote(remote + Partials::kPartialsBytes + stats_place(half) * int(sizeof(float2)),
                     make_float2(softmax.offset[half], softmax.row_sum[half]), remote_address(smem.stats_full, owner));
    if constexpr (!Traits::kIsOnline) wait_o<Traits>(acc_o, p);
    if (owner == coord.rank) {
      write_partial(coord, group, acc_o, factor, write_here);
    } else {
      const unsigned barrier = remote_address(smem.partials_full, owner);
      write_partial(coord, group, acc_o, factor,
                    [&](int offset, uint4 piece) { store_remote(remote + offset, piece, barrier); });
    }
  } else {
    if (coord.lane % 4 == 0)
#pragma unroll
      for (int half = 0; half < Traits::kRowsPerLane; ++half)
        smem.stats[stats_place(half)] = make_float2(softmax.offset[half], softmax.row_sum[half]);
    if constexpr (!Traits::kIsOnline) wait_o<Traits>(acc_o, p);
    write_partial(coord, group, acc_o, factor, write_here);
    __syncthreads();
  }
}

// A thread's share of the pieces of the rows that the block owns: every kNumThreads-th.
template <class Traits>
struct PieceCoord {
  using Partials = PartialStorage<Traits>;
  using Pieces = typename Partials::Pieces;
  static constexpr int kNumPieces = Partials::kRowGroups * Partials::kGroupPieces;
  static constexpr int kPerThread = (kNumPieces + Traits::kNumThreads - 1) / Traits::kNumThreads;

  int index;

  // The thread's n-th piece; some other where a thread has fewer.
  __device__ __forceinline__ static PieceCoord nth(int n) {
    constexpr bool kIsEven = kNumPieces % Traits::kNumThreads == 0 || Traits::kNumThreads % kNumPieces == 0;
    const int index = n * Traits::kNumThreads % kNumPieces + int(threadIdx.x) % kNumPieces;
    return {kIsEven ? index : index % kNumPieces};
  }

  __device__ __forceinline__ int group() const { return index / Partials::kGroupPieces; }
  __device__ __forceinline__ int half() const {
    return index / (Partials::kGroupPieces / Traits::kRowsPerLane) % Traits::kRowsPerLane;
  }
  __device__ __forceinline__ int piece() const { return index / 32 % Pieces::kPerRow; }

  // The tiles of columns that the piece has, of which a row's last may have fewer than others.
  __device__ __forceinline__ int tiles() const {
    constexpr bool kIsWhole = Traits::kTilesValue % Pieces::kTiles == 0;
    return kIsWhole ? Pieces::kTiles : min(Pieces::kTiles, Traits::kTilesValue - piece() * Pieces::kTiles);
  }

  // Among the rows that the block owns.
  __device__ __forceinline__ int row() const {
    return group() * Traits::kWarpM + half() * 8 + int(threadIdx.x) % 32 / 4;
  }
};

template <class Traits>
__device__ __forceinline__ void merge_rows(const SharedStorage<Traits> &smem, const TileCoord<Traits> &coord,
                                           const OutputTile<Traits> &out, float (&acc_o)[Traits::kTilesValue][4],
                                           const RowSoftmax<Traits> &softmax, POperand<Traits> (&p)[Traits::kParts]) {
  using Partials = PartialStorage<Traits>;
  using Pieces = typename Partials::Pieces;
  using Coord = PieceCoord<Traits>;
  using ElementPartial = typename Traits::ElementPartial;
  constexpr int kNumSplits = Traits::kNumSplits, kNumThreads = Traits::kNumThreads;

  float factor[Traits::kRowsPerLane];  // of normalised partial outputs
  if constexpr (kIsNormalized<ElementPartial>) inverse_sums<Traits>(factor, softmax);
  give_partial(smem, coord, acc_o, softmax, p, factor);

  float scales[Coord::kPerThread][kNumSplits];
  if constexpr (Traits::kIsCluster) mbarrier_wait(smem.stats_full, 0);
#pragma unroll
  for (int n = 0; n < Coord::kPerThread; ++n) {
    const Coord own = Coord::nth(n);
    const float2 *const stats = smem.stats + own.row() * kNumSplits;
    const float row_sum = split_scales<ElementPartial>(scales[n], stats, 1).y;
    normalize_scales<kHasBlindRows<Traits>>(scales[n], row_sum);
  }
  if constexpr (Traits::kIsCluster) {
    __syncthreads();                       // what the block's own warps have stored
    mbarrier_wait(smem.partials_full, 0);  // what other blocks have sent
  }
#pragma unroll
  for (int n = 0; n < Coord::kPerThread; ++n) {
    const Coord own{n * kNumThreads + int(threadIdx.x)};
    if (Coord::kNumPieces % kNumThreads != 0 && own.index >= Coord::kNumPieces) break;  // for whole warps
    const int row = coord.rank * Partials::kRowGroups * Traits::kWarpM + own.row();
    unsigned char *const to = out.row_pointer(row);
    float result[Pieces::kTiles][2] = {};
#pragma unroll
    for (int split = 0; split < kNumSplits; ++split)
      Pieces::add(result,
                  smem.partials + Partials::piece_offset(split, own.group(), own.half(), own.piece(), threadIdx.x % 32),
                  scales[n][split]);
    store_columns<Traits>(to + own.piece() * (Pieces::kTiles * kRowTileBytes<typename Traits::Element>), result,
                          out.is_inside(row), own.tiles());
  }
}

}  // namespace evoflash::split
#endif
