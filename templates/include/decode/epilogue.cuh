#pragma once

#include "cluster.cuh"
#include "decode/output.cuh"
#include "decode/column_softmax.cuh"
#include "decode/storage.cuh"
#include "decode/tile_coord.cuh"
#include "elect.cuh"
#include "split_scales.cuh"

// Merges the partial outputs of a block's warps, then those of a cluster's blocks, and stores the result: the output,
// or where the grid is split, a partial output for the second kernel. Merging goes by pieces of four columns of a row.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::decode {

struct Piece {
  float4 columns;  // not yet divided by the sum
  float2 stats;    // the row's maximum and sum
};

// A piece over kParts parts, which follow each other by these strides.
template <int kParts>
__device__ __forceinline__ Piece merge_parts(const float4 *columns, int columns_stride, const float2 *stats,
                                             int stats_stride, float softmax_scale_log2) {
  float scales[kParts];
  Piece piece{make_float4(0, 0, 0, 0), split_scales<float>(scales, stats, stats_stride, softmax_scale_log2)};
#pragma unroll
  for (int part = 0; part < kParts; ++part) add_scaled(piece.columns, columns[part * columns_stride], scales[part]);
  return piece;
}

template <class Traits>
struct Epilogue {
  using Storage = SharedStorage<Traits>;
  static constexpr int kRowPieces = Traits::kHeadDim / 4;

  const Arguments<Traits> &args;
  const Storage &smem;
  const TileCoord<Traits> &coord;

  // Prepares the barrier of what the cluster sends.
  __device__ __forceinline__ void begin() const {
    if constexpr (Traits::kIsCluster) {
      if (threadIdx.x < 32) {
        if (elect_one()) {
          mbarrier_init(smem.received_full(), 1);
          fence_mbarrier_init();
        }
        __syncwarp();
        if (elect_one())
          mbarrier_arrive_expect_tx(smem.received_full(), Storage::kReceivedPieceBytes + Storage::kReceivedStatBytes);
        __syncwarp();
      }
      cluster_arrive_relaxed();
    }
  }

  __device__ __forceinline__ void merge(const Output<Traits> &acc_o, ColumnSoftmax<Traits> &softmax) const {
    write_partial(acc_o, softmax);
    __syncthreads();
    if constexpr (Traits::kIsCluster) {
      cluster_wait();  // for the barriers of all blocks to be initialised, which they are by now
      send_stats();
      for (int i = threadIdx.x; i < Storage::kPieces; i += Traits::kNumThreads) send(i, piece_of_block(i));
      mbarrier_wait(smem.received_full(), 0);
      for (int i = threadIdx.x; i < Storage::kOwnPieces; i += Traits::kNumThreads) {
        const int number = coord.rank * Storage::kOwnPieces + i;
        store(number, merge_parts<Traits::kCluster>(smem.received(0) + i, Storage::kOwnPieces,
                                                    smem.received_stats(0) + number / kRowPieces, Traits::kBlockM,
                                                    coord.scales.of_scores()));
      }
    } else {
      for (int i = threadIdx.x; i < Storage::kPieces; i += Traits::kNumThreads) store(i, piece_of_block(i));
    }
  }

 private:
  // The warp's partial output, to where its keys were.
  __device__ __forceinline__ void write_partial(const Output<Traits> &acc_o, ColumnSoftmax<Traits> &softmax) const {
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
    softmax.reduce_sums();
    __syncwarp();  // all lanes have read the last values
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int row = m * 8 + c * 2 + i;
        if constexpr (Traits::kIsQuantized) {
          float2 *const to = reinterpret_cast<float2 *>(smem.partial(warp, row)) + g;  // columns 2 g and 2 g + 1
#pragma unroll
          for (int k = 0; k < Traits::kTilesHead; ++k) to[8 * k] = make_float2(acc_o[k][m][i], acc_o[k][m][2 + i]);
        } else {
          float *const to = smem.partial(warp, row) + g;
#pragma unroll
          for (int k = 0; k < Traits::kTilesHead; ++k) {
            to[16 * k] = acc_o[k][m][i];
            to[16 * k + 8] = acc_o[k][m][2 + i];
          }
        }
        if (g == 0) smem.stats(warp)[row] = make_float2(softmax.row_max[m][i], softmax.row_sum[m][i]);
      }
  }

  // Merged over the block's warps.
  __device__ __forceinline__ Piece piece_of_block(int number) const {
    const int row = number / kRowPieces, piece = number % kRowPieces;
    return merge_parts<Traits::kWarps>(reinterpret_cast<const float4 *>(smem.partial(0, row)) + piece,
                                       Storage::kWarpBytes / int(sizeof(float4)), smem.stats(0) + row, Traits::kBlockM,
                                       coord.scales.of_scores());
  }

  __device__ __forceinline__ void send(int number, const Piece &piece) const {
    const int owner = number / Storage::kOwnPieces;
    float4 *const place = smem.received(coord.rank) + number % Storage::kOwnPieces;
    const uint4 words = make_uint4(__float_as_uint(piece.columns.x), __float_as_uint(piece.columns.y),
                                   __float_as_uint(piece.columns.z), __float_as_uint(piece.columns.w));
    store_remote(remote_address(smem_address(place), owner), words, remote_address(smem.received_full(), owner));
  }

  // To every block of the cluster.
  __device__ __forceinline__ void send_stats() const {
    for (int i = threadIdx.x; i < Traits::kBlockM * Traits::kCluster; i += Traits::kNumThreads) {
      const int row = i / Traits::kCluster, to = i % Traits::kCluster;
      float scales[Traits::kWarps];
      const float2 stats = split_scales<float>(scales, smem.stats(0) + row, Traits::kBlockM, coord.scales.of_scores());
      store_remote(remote_address(smem_address(smem.received_stats(coord.rank) + row), to), stats,
                   remote_address(smem.received_full(), to));
    }
  }

  __device__ __forceinline__ void store(int number, const Piece &piece) const {
    const int row = number / kRowPieces, column = number % kRowPieces;
    if (!coord.has_row(row)) return;
    if constexpr (Traits::kIsShared) {
      if (coord.split >= 0) {
        const int64_t place = int64_t(coord.split) * Traits::kBlockM + row;
        reinterpret_cast<float4 *>(args.partials)[place * kRowPieces + column] = piece.columns;
        if (column == 0) reinterpret_cast<float2 *>(args.stats)[place] = piece.stats;
        return;
      }
    } else if constexpr (Traits::kIsGridSplit) {
      if (args.num_splits > 1) {
        const int64_t place = coord.row_number(row) * args.num_splits + coord.split;
        reinterpret_cast<float4 *>(args.partials)[place * kRowPieces + column] = piece.columns;
        if (column == 0) reinterpret_cast<float2 *>(args.stats)[place] = piece.stats;
        return;
      }
    }
    store_output<Traits>(coord.row_pointer(args.out, row), column, piece.columns, piece.stats.y,
                         coord.scales.of_outputs());
    if constexpr (Traits::kStoresLse) {
      int head;
      const int token = args.group.divmod(head, coord.first_row + row);
      float *const to = args.lse.from(coord.bidb, coord.kv_head * args.group.divisor + head, token);
      if (column == 0) *to = log_sum_exp(piece.stats, coord.scales.of_scores());
    }
  }
};

}  // namespace evoflash::decode
#endif
