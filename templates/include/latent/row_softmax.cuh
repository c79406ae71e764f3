#pragma once

#include "latent/gemm.cuh"
#include "latent/storage.cuh"
#include "latent/tile_coord.cuh"
#include "math.cuh"
#include "pairs.cuh"
#include "softmax.cuh"
#include "warp.cuh"

// Online softmax on scores in shared memory: kRowLanes neighbouring lanes have a row, and two or more of its keys each.
// Maxima are of scores times softmax_scale_log2.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::latent {

template <class Traits>
struct RowSoftmax {
  static constexpr int kRowLanes = Traits::kBlockN < 64 ? Traits::kBlockN / 2 : 32;
  static constexpr int kPairs = Traits::kBlockN / 2 / kRowLanes;  // of keys of a lane
  static constexpr int kRowsAtOnce = Traits::kNumThreads / kRowLanes;
  static constexpr int kRounds = (Traits::kBlockM + kRowsAtOnce - 1) / kRowsAtOnce;

  float row_max[kRounds];
  float row_sum[kRounds] = {};  // of this lane's keys

  __device__ __forceinline__ RowSoftmax() {
#pragma unroll
    for (int i = 0; i < kRounds; ++i) row_max[i] = kNoMaximum;
  }

  // A step: scores become probabilities in the type of the values, and older sums are to be scaled by `corrections`.
  __device__ __forceinline__ void step(const SharedStorage<Traits> &smem, const TileCoord<Traits> &coord, int key) {
    const bool is_masked = key < coord.all.begin || key + Traits::kBlockN > coord.all.end;
#pragma unroll
    for (int i = 0; i < kRounds; ++i) {
      const int row = row_of_round(i);
      if (!has_row(row)) break;
      float x[kPairs][2];
      load_scores(x, smem, row, coord.args.softmax_scale_log2);
      if (is_masked) mask(x, coord, row, key);
      float maximum = row_max[i];
#pragma unroll
      for (int pair = 0; pair < kPairs; ++pair) maximum = fmaxf(maximum, fmaxf(x[pair][0], x[pair][1]));
      maximum = warp_reduce_max<kRowLanes>(maximum);
      const float correction = exp2_approx(row_max[i] - maximum);
      row_max[i] = maximum;
      row_sum[i] *= correction;
      unsigned *const to = reinterpret_cast<unsigned *>(smem.weights(row)) + lane_of_row();
#pragma unroll
      for (int pair = 0; pair < kPairs; ++pair) {
        const float low = exp2_approx(x[pair][0] - maximum), high = exp2_approx(x[pair][1] - maximum);
        row_sum[i] += low + high;
        to[pair * kRowLanes] = pack<typename Traits::Element>(low, high);
      }
      if (lane_of_row() == 0) smem.corrections()[row] = correction;
    }
  }

  // After a barrier: scales what the warp has summed up.
  __device__ __forceinline__ static void rescale(Output<Traits> &acc_o, const SharedStorage<Traits> &smem) {
    float scale[Traits::kTilesM][2];
    bool is_raised = false;
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        scale[m][half] = smem.corrections()[16 * m + 8 * half + threadIdx.x % 32 / 4];
        is_raised |= scale[m][half] != 1.0f;
      }
    if (!__any_sync(kAllLanes, is_raised)) return;
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int k = 0; k < 2 * Traits::kTilesOut; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i) acc_o[m][k][i] *= scale[m][i / 2];
  }

  // Maxima and sums of all rows, to shared memory.
  __device__ __forceinline__ void write_stats(const SharedStorage<Traits> &smem) const {
#pragma unroll
    for (int i = 0; i < kRounds; ++i) {
      const int row = row_of_round(i);
      if (!has_row(row)) break;
      const float sum = warp_reduce_sum<kRowLanes>(row_sum[i]);
      if (lane_of_row() == 0) smem.stats()[row] = make_float2(row_max[i], sum);
    }
  }

 private:
  __device__ __forceinline__ static int lane_of_row() { return threadIdx.x % kRowLanes; }
  __device__ __forceinline__ static int row_of_round(int i) { return i * kRowsAtOnce + threadIdx.x / kRowLanes; }

  // The same for all lanes of a warp, which has one, two or four rows of sixteen.
  __device__ __forceinline__ static bool has_row(int row) {
    return Traits::kBlockM % kRowsAtOnce == 0 || row < Traits::kBlockM;
  }

  __device__ __forceinline__ static void load_scores(float (&x)[kPairs][2], const SharedStorage<Traits> &smem, int row,
                                                     float softmax_scale_log2) {
#pragma unroll
    for (int pair = 0; pair < kPairs; ++pair) {
      x[pair][0] = x[pair][1] = 0;
#pragma unroll
      for (int part = 0; part < Traits::kDepthWarps; ++part) {
        const float2 sum = reinterpret_cast<const float2 *>(smem.scores(part, row))[lane_of_row() + pair * kRowLanes];
        x[pair][0] += sum.x;
        x[pair][1] += sum.y;
      }
      x[pair][0] *= softmax_scale_log2;
      x[pair][1] *= softmax_scale_log2;
    }
  }

  __device__ __forceinline__ static void mask(float (&x)[kPairs][2], const TileCoord<Traits> &coord, int row, int key) {
    const KeyRange visible = visible_keys(coord.args, coord.args.group.divide(coord.first_row() + row));
#pragma unroll
    for (int pair = 0; pair < kPairs; ++pair)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int own_key = key + (lane_of_row() + pair * kRowLanes) * 2 + i;
        if (own_key >= visible.end || (Traits::kIsBanded && own_key < visible.begin)) x[pair][i] = -INFINITY;
      }
  }
};

}  // namespace evoflash::latent
#endif
