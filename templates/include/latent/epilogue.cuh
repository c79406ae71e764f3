#pragma once

#include "cluster.cuh"
#include "elect.cuh"
#include "latent/gemm.cuh"
#include "latent/merge.cuh"
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

  // After a barrier behind the last step.
  __device__ __forceinline__ void merge(const Output<Traits> &acc_o, const RowSoftmax<Traits> &softmax) const {
    write_partial(acc_o);
    softmax.write_stats(smem);
    __syncthreads();
    if constexpr (Traits::kIsCluster) {
      cluster_wait();  // for the barriers of all blocks to be initialised, which they are by now
      send();
      mbarrier_wait(smem.received_full(), 0);
    }
    for (int i = threadIdx.x; i < Storage::kOwnPieces; i += Traits::kNumThreads) store(i, own_piece(i));
  }

 private:
  // The row of a piece that this block owns.
  __device__ __forceinline__ int own_row(int i) const { return coord.rank * Storage::kOwnRows + i / kRowPieces; }

  __device__ __forceinline__ const float4 *partial_piece(int number) const {
    return reinterpret_cast<const float4 *>(smem.partial(number / kRowPieces)) + number % kRowPieces;
  }

  // To where the keys were.
  __device__ __forceinline__ void write_partial(const Output<Traits> &acc_o) const {
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float *const row = smem.partial(16 * m + 8 * half + g) + warp * Traits::kTilesOut * 16 + 2 * c;
#pragma unroll
        for (int k = 0; k < 2 * Traits::kTilesOut; ++k)
          *reinterpret_cast<float2 *>(row + 8 * k) = make_float2(acc_o[m][k][2 * half], acc_o[m][k][2 * half + 1]);
      }
  }

  // Each block of the cluster gets the rows that it owns.
  __device__ __forceinline__ void send() const {
    for (int row = threadIdx.x; row < Traits::kBlockM; row += Traits::kNumThreads) {
      const int owner = row / Storage::kOwnRows;
      const unsigned place = smem_address(smem.received_stats(coord.rank) + row % Storage::kOwnRows);
      store_remote(remote_address(place, owner), smem.stats()[row], remote_address(smem.received_full(), owner));
    }
    for (int i = threadIdx.x; i < Storage::kPieces; i += Traits::kNumThreads) {
      const int owner = i / Storage::kOwnPieces;
      const unsigned place = smem_address(smem.received(coord.rank) + i % Storage::kOwnPieces);
      const float4 columns = *partial_piece(i);
      const uint4 words = make_uint4(__float_as_uint(columns.x), __float_as_uint(columns.y), __float_as_uint(columns.z),
                                     __float_as_uint(columns.w));
      store_remote(remote_address(place, owner), words, remote_address(smem.received_full(), owner));
    }
  }

  // A piece that this block owns, merged over the cluster.
  __device__ __forceinline__ Piece own_piece(int i) const {
    if constexpr (Traits::kIsCluster) {
      return merge_parts<Traits::kCluster>(smem.received(0) + i, Storage::kOwnPieces,
                                           smem.received_stats(0) + i / kRowPieces, Storage::kOwnRows);
    } else {
      return {*partial_piece(i), smem.stats()[i / kRowPieces]};
    }
  }

  __device__ __forceinline__ void store(int i, const Piece &piece) const {
    const int row = own_row(i), number = i % kRowPieces;
    if (!coord.has_row(row)) return;
    if constexpr (Traits::kIsGridSplit) {
      if (args.num_splits > 1) {
        const int64_t place = coord.row_number(row) * args.num_splits + coord.split;
        *split_piece(args, place, number) = piece.columns;
        if (number == 0) *split_stats(args, place) = piece.stats;
        return;
      }
    }
    store_output<Traits>(coord.row_pointer(args.out, row), number, piece);
  }
};

}  // namespace evoflash::latent
#endif
