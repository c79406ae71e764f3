#pragma once

#include "cluster.cuh"
#include "mma/epilogue.cuh"
#include "named_barrier.cuh"

// The end of a tile whose slices are merged by rows: warps lay their partial outputs down in shared memory, of their
// own block or of the block of the cluster that merges these rows, and each adds up some rows over all slices.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::mma {

// Adds up a block's partial outputs. Of kMergers warps, each takes some groups of eight rows from first_eight on, or
// some pieces of one group.
template <class Traits, int kMergers, int kEights>
struct RowMerger {
  using ElementPartial = typename Traits::ElementPartial;
  using Partials = typename SharedStorage<Traits>::Partials;
  using Pieces = typename Partials::Pieces;
  static constexpr int kNumSlices = Partials::kNumSlices;
  static constexpr int kSharers = kMergers > kEights ? kMergers / kEights : 1;    // warps of a group of eight rows
  static constexpr int kOwnEights = kEights > kMergers ? kEights / kMergers : 1;  // groups of a warp

  // Pieces of a row that are stored together: 16 bytes of 16-bit elements are the columns of two pieces in floats.
  static constexpr int kStoredElementBytes = int(sizeof(typename OutputTile<Traits>::Element));
  static constexpr int kPiecesAtOnce =
      Traits::kStoreBytes == 16 && Pieces::kTiles == 2 && kStoredElementBytes == 2 ? 2 : 1;
  static constexpr int kPartTiles = kPiecesAtOnce * Pieces::kTiles;
  static constexpr int kParts = (Pieces::kPerRow + kPiecesAtOnce - 1) / kPiecesAtOnce;
  static constexpr int kLastTiles = Traits::kTilesValue - (kParts - 1) * kPartTiles;  // of the last part

  const WarpCoord<Traits> &coord;
  int merger;     // the warp's number among those that merge
  int own_eight;  // the warp's first group of eight rows

  __device__ __forceinline__ RowMerger(const WarpCoord<Traits> &coord, int merger, int first_eight)
      : coord(coord), merger(merger), own_eight(first_eight + merger / kSharers * kOwnEights) {}

  // Where a lane's piece of a row of a group of eight lies.
  __device__ __forceinline__ static int piece_offset(int slice, int eight, int piece) {
    return slice * Partials::kPartialStride +
           ((eight * Pieces::kPerRow + piece) * 32 + int(threadIdx.x) % 32) * Pieces::kBytes;
  }

  // The scales of the slices in the warp's rows.
  __device__ __forceinline__ void load_scales(float (&scales)[kOwnEights][kNumSlices], const float2 *stats,
                                              const OutputTile<Traits> &out) const {
#pragma unroll
    for (int i = 0; i < kOwnEights; ++i) {
      const float2 total =
          split_scales<ElementPartial>(scales[i], stats + (own_eight + i) * 8 + coord.lane / 4, Partials::kMergedRows);
      if constexpr (Traits::kIsSplitKv) {
        if constexpr (kIsNormalized<ElementPartial>) {
          if (total.y != 0) normalize_scales(scales[i], total.y);  // 0: no slice has a key for this row
        }
        const int row = (own_eight + i) * 8 + coord.lane / 4;
        if (merger % kSharers == 0 && coord.lane % 4 == 0 && (Traits::kIsEvenM || row < out.rows_left))
          out.stats[row] = total;
      } else {
        normalize_scales<kHasBlindRows<Traits>>(scales[i], total.y);
        if constexpr (Traits::kStoresLse) {
          const int first_row = Traits::kIsCluster ? coord.split * Partials::kMergedRows : 0;  // of this block
          const int row = first_row + (own_eight + i) * 8 + coord.lane / 4;
          if (merger % kSharers == 0 && coord.lane % 4 == 0 && (Traits::kIsEvenM || row < out.rows_left))
            out.store_lse(row, total);
        }
      }
    }
  }

  // Adds up the warp's rows over the slices, and stores them.
  __device__ __forceinline__ void merge(float (&columns)[kPartTiles][2], const float (&scales)[kOwnEights][kNumSlices],
                                        const unsigned char *partials, const OutputTile<Traits> &out) const {
#pragma unroll
    for (int i = 0; i < kOwnEights; ++i)
#pragma unroll
      for (int first_part = 0; first_part < kParts; first_part += kSharers) {
        const int part = first_part + merger % kSharers;
        if (kParts % kSharers != 0 && part >= kParts) break;                                 // for whole warps
        const int first_row = Traits::kIsCluster ? coord.split * Partials::kMergedRows : 0;  // of this block
        const int row = first_row + (own_eight + i) * 8 + coord.lane / 4;
#pragma unroll
        for (int t = 0; t < kPartTiles; ++t) columns[t][0] = columns[t][1] = 0;
        if constexpr (kPiecesAtOnce == 1) {
#pragma unroll
          for (int slice = 0; slice < kNumSlices; ++slice)
            Pieces::add(columns, partials + piece_offset(slice, own_eight + i, part), scales[i][slice]);
        } else {
#pragma unroll
          for (int piece = 0; piece < kPiecesAtOnce; ++piece) {
            if (Pieces::kPerRow % kPiecesAtOnce != 0 && kPiecesAtOnce * part + piece >= Pieces::kPerRow) break;
            auto &sums = reinterpret_cast<float (&)[Pieces::kTiles][2]>(columns[piece * Pieces::kTiles]);
#pragma unroll
            for (int slice = 0; slice < kNumSlices; ++slice)
              Pieces::add(sums, partials + piece_offset(slice, own_eight + i, kPiecesAtOnce * part + piece),
                          scales[i][slice]);
          }
        }
        if constexpr (kLastTiles != kPartTiles) {
          if (part == kParts - 1) {
            const auto &last = reinterpret_cast<const float (&)[kLastTiles][2]>(columns);
            out.store(row, part * kPartTiles, last, Traits::kIsEvenM || row < out.rows_left);
            continue;
          }
        }
        out.store(row, part * kPartTiles, columns, Traits::kIsEvenM || row < out.rows_left);
      }
  }
};

// The inverse of a row's sum where partial outputs are divided by it; otherwise not used.
template <class Traits>
__device__ __forceinline__ float piece_factor(float row_sum) {
  if constexpr (kIsNormalized<typename Traits::ElementPartial>) {
    return inverse_sum(row_sum);
  } else {
    return 1.0f;
  }
}

template <class Traits>
struct Epilogue<Traits, Merge::kWarps> {
  using Partials = typename SharedStorage<Traits>::Partials;
  using Pieces = typename Partials::Pieces;
  static constexpr int kEights = Traits::kWarpM / 8;
  using Merger = RowMerger<Traits, Traits::kWarpsN, kEights>;  // the warps that share the rows merge them

  // What merging holds in registers.
  struct MergeFragments {
    float columns[Merger::kPartTiles][2];                  // of a row, that are stored together
    float scales[Merger::kOwnEights][Merger::kNumSlices];  // of the slices, row by row
  };

  const WarpCoord<Traits> &coord;
  const SharedStorage<Traits> &storage;

  // Writes the rows' (offset, row_sum) to shared memory.
  __device__ __forceinline__ void send_stats(Fragments<Traits> &fragments) const {
    float2 *const stats = storage.stats();
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        fragments.softmax[m].row_sum[half] = warp_reduce_sum<4>(fragments.softmax[m].row_sum[half]);
        if (coord.lane % 4 == 0)
          stats[coord.slice * Partials::kMergedRows + coord.row_of_lane(m, half)] =
              make_float2(fragments.softmax[m].offset[half], fragments.softmax[m].row_sum[half]);
      }
    if constexpr (Traits::kEarlyStats) {
      if (coord.lane % 4 == 0) mbarrier_arrive(storage.stats_barrier());  // each lane that has written
    }
  }

  __device__ __forceinline__ void store(const Fragments<Traits> &fragments, MergeFragments &merge,
                                        const OutputTile<Traits> &out) const {
    unsigned char *const partials = storage.partials();
    coord.sync_slice();  // K and V of the slice have been read
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float factor = piece_factor<Traits>(fragments.softmax[m].row_sum[half]);
#pragma unroll
        for (int piece = 0; piece < Pieces::kPerRow; ++piece)
          *reinterpret_cast<uint4 *>(partials +
                                     Merger::piece_offset(coord.slice, coord.warp_row / 8 + 2 * m + half, piece)) =
              Pieces::of(fragments.acc_o[m], piece, half, factor);
      }

    const Merger merger(coord, coord.slice, coord.warp_m * kEights);
    if constexpr (Traits::kEarlyStats) {
      mbarrier_wait(storage.stats_barrier(), 0);
      merger.load_scales(merge.scales, storage.stats(), out);
    }
    if constexpr (Traits::kWarpsM == 1) {
      __syncthreads();
    } else {  // of the warps that share the rows
      named_barrier_sync<32 * Traits::kWarpsN>(1 + Traits::kWarpsN + coord.warp_m);
    }
    if constexpr (!Traits::kEarlyStats) merger.load_scales(merge.scales, storage.stats(), out);
    merger.merge(merge.columns, merge.scales, partials, out);
  }
};

template <class Traits>
struct Epilogue<Traits, Merge::kClusterRows> {
  using Partials = typename SharedStorage<Traits>::Partials;
  using Pieces = typename Partials::Pieces;
  static constexpr int kEights = Partials::kMergedRows / 8;  // that a block merges
  using Merger = RowMerger<Traits, Traits::kNumWarps, kEights>;

  // What merging holds in registers.
  struct MergeFragments {
    float columns[Merger::kPartTiles][2];                  // of a row, that are stored together
    float scales[Merger::kOwnEights][Merger::kNumSlices];  // of the slices, row by row
  };

  const WarpCoord<Traits> &coord;
  const SharedStorage<Traits> &storage;

  // Sends the rows' (offset, row_sum) to the blocks that merge them, ahead of the output.
  __device__ __forceinline__ void send_stats(Fragments<Traits> &fragments) const {
    cluster_wait();  // long since over: all barriers of the cluster have been made
    float2 *const stats = storage.stats();
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        fragments.softmax[m].row_sum[half] = warp_reduce_sum<4>(fragments.softmax[m].row_sum[half]);
        const int eight = coord.warp_row / 8 + 2 * m + half, owner = eight / kEights;
        const int row = eight % kEights * 8 + coord.lane / 4;
        if (coord.lane % 4 == 0)
          store_remote(remote_address(smem_address(stats + slice() * Partials::kMergedRows + row), owner),
                       make_float2(fragments.softmax[m].offset[half], fragments.softmax[m].row_sum[half]),
                       remote_address(storage.stats_barrier(), owner));
      }
  }

  __device__ __forceinline__ void store(const Fragments<Traits> &fragments, MergeFragments &merge,
                                        const OutputTile<Traits> &out) const {
    unsigned char *const partials = storage.partials();
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float factor = piece_factor<Traits>(fragments.softmax[m].row_sum[half]);
        const int eight = coord.warp_row / 8 + 2 * m + half, owner = eight / kEights, owned = eight % kEights;
        if (owner == coord.split) {
#pragma unroll
          for (int piece = 0; piece < Pieces::kPerRow; ++piece)
            *reinterpret_cast<uint4 *>(partials + Merger::piece_offset(slice(), owned, piece)) =
                Pieces::of(fragments.acc_o[m], piece, half, factor);
        } else {
          const unsigned remote = remote_address(smem_address(partials), owner);
          const unsigned barrier = remote_address(storage.partials_barrier(), owner);
#pragma unroll
          for (int piece = 0; piece < Pieces::kPerRow; ++piece)
            store_remote(remote + Merger::piece_offset(slice(), owned, piece),
                         Pieces::of(fragments.acc_o[m], piece, half, factor), barrier);
        }
      }

    const Merger merger(coord, coord.warp, 0);
    mbarrier_wait(storage.stats_barrier(), 0);
    merger.load_scales(merge.scales, storage.stats(), out);
    __syncthreads();                               // what the block's own warps have written
    mbarrier_wait(storage.partials_barrier(), 0);  // what other blocks have sent
    merger.merge(merge.columns, merge.scales, partials, out);
  }

 private:
  // The warp's slice among those of all blocks.
  __device__ __forceinline__ int slice() const { return coord.split * Traits::kWarpsN + coord.slice; }
};

}  // namespace evoflash::mma
#endif
