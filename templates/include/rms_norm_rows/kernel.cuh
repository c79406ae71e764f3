#pragma once

#include "cache_hints.cuh"
#include "cp_async.cuh"
#include "math.cuh"
#include "rms_norm_rows/arguments.cuh"
#include "rms_norm_rows/quantize.cuh"
#include "row_parts.cuh"

// A group of threads, some warps of a block or of all blocks of a cluster, owns a row. Each thread takes every so many
// vectors of it: the first kHeld it holds in registers, as they are rounded, until the row's sum of squares is known.
// Any further ones it stores, and reads again.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::rms_norm_rows {

template <class Config>
struct Kernel {
  using Element = typename Config::Element;
  static constexpr int kVector = Config::kVector, kHeld = Config::kHeld, kCluster = Config::kCluster;
  static constexpr int kRowThreads = Config::kRowThreads, kBlockRows = Config::kBlockRows;
  static constexpr int kThreads = kRowThreads * kBlockRows;
  static constexpr int kHeldAtLeast1 = kHeld > 0 ? kHeld : 1;  // an array has elements
  static constexpr auto kQuantize = Config::kQuantize;
  static constexpr bool kIsQuantized = kQuantize != Quantize::kNone;
  static constexpr int kOutBytes = kIsQuantized ? 1 : int(sizeof(Element));
  using Vector = PackedElements<Element, kVector>;
  using Parts = RowParts<kBlockRows, kRowThreads, kCluster>;

  const Arguments &args;
  const int thread = threadIdx.x % kRowThreads, group = threadIdx.x / kRowThreads;
  const int rank, num_vectors;
  Parts parts;
  Vector *const slots;  // where copies land: x, then residual, each with kHeld vectors of each thread

  __device__ __forceinline__ Kernel(const Arguments &args, unsigned char *smem)
      : args(args),
        rank(kCluster > 1 ? cluster_rank() : 0),
        num_vectors(args.columns / kVector),
        parts{reinterpret_cast<float2 *>(smem), rank},
        slots(reinterpret_cast<Vector *>(smem + Parts::kBytes)) {}

  // The j-th vector of this thread.
  __device__ __forceinline__ int vector_of(int j) const { return (j * kCluster + rank) * kRowThreads + thread; }
  __device__ __forceinline__ int column_of(int j) const { return vector_of(j) * kVector; }
  __device__ __forceinline__ bool has(int row, int j) const { return row < args.rows && vector_of(j) < num_vectors; }

  __device__ __forceinline__ const Element *x_at(int row, int j) const {
    return static_cast<const Element *>(args.x) + row * args.x_stride + column_of(j);
  }
  __device__ __forceinline__ const Element *residual_at(int row, int j) const {
    return static_cast<const Element *>(args.residual) + row * args.residual_stride + column_of(j);
  }
  __device__ __forceinline__ Element *total_at(int row, int j) const {
    return static_cast<Element *>(args.total) + row * args.total_stride + column_of(j);
  }
  __device__ __forceinline__ Vector weight_at(int j) const {
    return load_packed<Caching::kDefault, sizeof(Vector)>(static_cast<const Element *>(args.weight) + column_of(j));
  }

  // Copies. A thread reads nothing but what it has copied itself, so it needs no barrier.
  __device__ __forceinline__ Vector &slot(int tensor, int j) const {
    return slots[(tensor * kHeld + j) * kThreads + threadIdx.x];
  }
  __device__ __forceinline__ void copy_row(int row) const {
#pragma unroll
    for (int j = 0; j < kHeld; ++j) {
      if (!has(row, j)) continue;
      cp_async(&slot(0, j), x_at(row, j), true);
      cp_async(&slot(1, j), residual_at(row, j), true);
    }
    cp_async_commit();
  }

  struct Moments {
    float sum = 0;      // of squares
    float largest = 0;  // magnitude of a weighted element, for the scale; NaN if one is

    __device__ __forceinline__ void add(const Vector &total, const Vector &weight) {
      float values[kVector], weights[kVector];
      unpack<Element>(values, total);
      if constexpr (kIsQuantized) unpack<Element>(weights, weight);
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        sum = fmaf(values[i], values[i], sum);
        if constexpr (kIsQuantized) largest = max_nan(largest, fabsf(values[i] * weights[i]));
      }
    }
    // Over so many neighbouring lanes, each of which gets the result.
    template <int kLanes>
    __device__ __forceinline__ void reduce() {
      sum = warp_reduce_sum<kLanes>(sum);
      if constexpr (kIsQuantized) {
#pragma unroll
        for (int distance = kLanes / 2; distance > 0; distance /= 2)
          largest = max_nan(largest, __shfl_xor_sync(kAllLanes, largest, distance));
      }
    }
  };

  __device__ __forceinline__ Moments reduced(Moments own) {
    own.template reduce<32>();
    if constexpr (Parts::kCount == 1) return own;
    const float2 *const all = parts.exchange({own.sum, own.largest});
    Moments moments;
#pragma unroll
    for (int i = threadIdx.x % Parts::kLanes; i < Parts::kCount; i += Parts::kLanes) {
      moments.sum += all[i].x;
      moments.largest = max_nan(moments.largest, all[i].y);
    }
    moments.template reduce<Parts::kLanes>();
    return moments;
  }

  // x + residual as it is rounded.
  __device__ __forceinline__ static Vector add(const Vector &x, const Vector &residual) {
    float left[kVector], right[kVector];
    unpack<Element>(left, x);
    unpack<Element>(right, residual);
#pragma unroll
    for (int i = 0; i < kVector; ++i) left[i] += right[i];
    return pack_all<Element>(left);
  }

  // The same of a vector that is held, stored now or with the normalised row.
  __device__ __forceinline__ Vector held(int row, int j, const Vector &x, const Vector &residual) const {
    const Vector total = add(x, residual);
    if constexpr (!Config::kIsTotalLate) store_packed<Config::kStores>(total_at(row, j), total);
    return total;
  }

  __device__ __forceinline__ void write(int row, int j, const Vector &total, const Vector &weight, float factor) const {
    float values[kVector], weights[kVector];
    unpack<Element>(values, total);
    unpack<Element>(weights, weight);
    void *const out = static_cast<char *>(args.out) + (row * args.out_stride + column_of(j)) * kOutBytes;
    if constexpr (kIsQuantized) {
#pragma unroll
      for (int i = 0; i < kVector; ++i) values[i] = values[i] * weights[i] * factor;
      store_packed<Config::kStores>(out, quantize<kQuantize>(values));
    } else {
#pragma unroll
      for (int i = 0; i < kVector; ++i) values[i] = values[i] * factor * weights[i];
      store_packed<Config::kStores>(out, pack_all<Element>(values));
    }
  }

  // What elements are multiplied by; stores the row's scale.
  __device__ __forceinline__ float factor_of(int row, const Moments &moments) const {
    const float inverse_rms = rsqrtf(fmaf(moments.sum, args.inverse_columns, args.eps));
    if constexpr (!kIsQuantized) return inverse_rms;
    const float largest = moments.largest * inverse_rms;
    const float magnitude = largest < kSmallestMagnitude ? kSmallestMagnitude : largest;  // a NaN stays one
    if (row < args.rows && rank == 0 && thread == 0) args.scale[row] = magnitude / kLargest<kQuantize>;
    return inverse_rms * (kLargest<kQuantize> / magnitude);
  }

  __device__ __forceinline__ void run() {
    parts.template begin<Config::kIsEarly>();
    const int step = int(gridDim.x) / kCluster * kBlockRows, begin = int(blockIdx.x) / kCluster * kBlockRows;
    [[maybe_unused]] Vector weight[kHeldAtLeast1];
    const auto load_weight = [&] {
#pragma unroll
      for (int j = 0; j < kHeld; ++j)
        if (vector_of(j) < num_vectors) weight[j] = weight_at(j);
    };
    if constexpr (Config::kWeightLoad == WeightLoad::kKept) load_weight();
    if constexpr (Config::kIsCopied) copy_row(begin + group);
    // The rows of a block go on together, as its threads meet at barriers; the last ones may not be there.
    for (int first = begin; first < args.rows; first += step) {
      const int row = first + group;
      Vector total[kHeldAtLeast1];
      Moments own;
      if constexpr (Config::kIsCopied) {
        cp_async_wait<0>();
#pragma unroll
        for (int j = 0; j < kHeld; ++j)
          if (has(row, j)) total[j] = held(row, j, slot(0, j), slot(1, j));
        copy_row(row + step);  // the next row arrives while this one is normalised
      } else {
        Vector x[kHeldAtLeast1], residual[kHeldAtLeast1];  // all loads are on their way before the first is needed
#pragma unroll
        for (int j = 0; j < kHeld; ++j) {
          if (!has(row, j)) continue;
          x[j] = load_packed<Config::kLoads, sizeof(Vector)>(x_at(row, j));
          residual[j] = load_packed<Config::kLoads, sizeof(Vector)>(residual_at(row, j));
        }
        if constexpr (Config::kWeightLoad == WeightLoad::kEarly) load_weight();
#pragma unroll
        for (int j = 0; j < kHeld; ++j)
          if (has(row, j)) total[j] = held(row, j, x[j], residual[j]);
      }
      if constexpr (Config::kIsCopied && Config::kWeightLoad == WeightLoad::kEarly) load_weight();
#pragma unroll
      for (int j = 0; j < kHeld; ++j)
        if (has(row, j)) own.add(total[j], weight[j]);
      for (int j = kHeld; has(row, j); ++j) {
        const Vector x = load_packed<Config::kLoads, sizeof(Vector)>(x_at(row, j));
        const Vector residual = load_packed<Config::kLoads, sizeof(Vector)>(residual_at(row, j));
        const Vector further = add(x, residual);
        store_packed<Config::kStores>(total_at(row, j), further);
        own.add(further, kIsQuantized ? weight_at(j) : Vector{});
      }

      const float factor = factor_of(row, reduced(own));
      if constexpr (Config::kWeightLoad == WeightLoad::kLate) load_weight();
#pragma unroll
      for (int j = 0; j < kHeld; ++j)
        if (has(row, j)) {
          if constexpr (Config::kIsTotalLate) store_packed<Config::kStores>(total_at(row, j), total[j]);
          write(row, j, total[j], weight[j], factor);
        }
      for (int j = kHeld; has(row, j); ++j)
        write(row, j, load_packed<Caching::kDefault, sizeof(Vector)>(total_at(row, j)), weight_at(j), factor);
    }
  }
};

template <class Config>
__device__ __forceinline__ void normalise_rows(const Arguments &args, unsigned char *smem) {
  Kernel<Config>(args, smem).run();
}

}  // namespace evoflash::rms_norm_rows
#endif
