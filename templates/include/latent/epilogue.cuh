#pragma once

#include "cluster.cuh"
#include "elect.cuh"
#include "latent/gemm.cuh"
#include "latent/pieces.cuh"
#include "latent/row_softmax.cuh"
#include "latent/storage.cuh"
#include "latent/tile_coord.cuh"

// Merges the partial outputs of a cluster's blocks, and stores the result: the output, or where the grid is split, a
// partial output for the second kernel.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::latent {

template <class Traits>
struct Epilogue {
  using Storage = SharedStorage<Traits>;
  using Sum = PieceSum<Traits>;
  static constexpr int kRowPieces = Traits::kRowPieces;

  const Arguments<Traits> &args;
  const Storage &smem;
  const TileCoord<Traits> &coord;

  // Prepares the barrier of what the cluster sends.
  __device__ __forceinline__ void prepare() const {
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

  __device__ __forceinline__ void merge(const Output<Traits> &acc_o, const RowSoftmax<Traits> &softmax) const {
    softmax.write_stats(smem);
    __syncthreads();
    if constexpr (Traits::kIsCluster) {
      cluster_wait();  // for the barriers of all blocks to be initialised, which they are by now
      for (int row = threadIdx.x; row < Traits::kBlockM; row += Traits::kNumThreads) send_stats(row);
      for_each_piece(acc_o, [&](int row, int number, const Sum &sum) { send(row, number, sum); });
      mbarrier_wait(smem.received_full(), 0);
      for (int i = threadIdx.x; i < Storage::kOwnPieces; i += Traits::kNumThreads)
        store(coord.rank * Storage::kOwnRows + i / kRowPieces, i % kRowPieces,
              Sum::template of_parts<Traits::kCluster>(smem.received(0) + i, Storage::kOwnPieces,
                                                       smem.received_stats(0) + i / kRowPieces, Storage::kOwnRows));
    } else {
      for_each_piece(acc_o, [&](int row, int number, const Sum &sum) { store(row, number, sum); });
    }
  }

 private:
  // What the lane has of the block's partial output.
  template <class Visit>
  __device__ __forceinline__ void for_each_piece(const Output<Traits> &acc_o, const Visit &visit) const {
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = 16 * m + 8 * half + g;
        Sum sum;
        sum.stats = smem.stats()[row];
#pragma unroll
        for (int piece = 0; piece < Traits::kLanePieces; ++piece) {
#pragma unroll
          for (int i = 0; i < Traits::kPieceTiles; ++i)
#pragma unroll
            for (int j = 0; j < 2; ++j) sum.columns[i][j] = acc_o[m][piece * Traits::kPieceTiles + i][2 * half + j];
          visit(row, (warp * Traits::kLanePieces + piece) * 4 + c, sum);
        }
      }
  }

  // Each block of the cluster gets the rows that it owns.
  __device__ __forceinline__ void send_stats(int row) const {
    const int owner = row / Storage::kOwnRows;
    const unsigned place = smem_address(smem.received_stats(coord.rank) + row % Storage::kOwnRows);
    store_remote(remote_address(place, owner), smem.stats()[row], remote_address(smem.received_full(), owner));
  }

  __device__ __forceinline__ void send(int row, int number, const Sum &sum) const {
    const int owner = row / Storage::kOwnRows;
    const unsigned place = smem_address(smem.received(coord.rank) + row % Storage::kOwnRows * kRowPieces + number);
    store_remote(remote_address(place, owner), sum.words(inverse_sum(sum.stats.y)),
                 remote_address(smem.received_full(), owner));
  }

  __device__ __forceinline__ void store(int row, int number, const Sum &sum) const {
    if (!coord.has_row(row)) return;
    if constexpr (Traits::kIsGridSplit) {
      if (args.num_splits > 1) {
        const int64_t own_row = coord.row_number(row);
        *Sum::split_piece(args, own_row, coord.split, number) = sum.words(inverse_sum(sum.stats.y));
        if (number == 0) *Sum::split_stats(args, own_row, coord.split) = sum.stats;
        return;
      }
    }
    sum.store_output(coord.row_pointer(args.out, row), number);
  }
};

}  // namespace evoflash::latent
#endif
