#pragma once

#include "decode/arguments.cuh"

// What scores and outputs of a key-value head are multiplied by.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::decode {

template <class Traits, bool kIsQuantized = Traits::kIsQuantized>
struct HeadScales {
  const Arguments<Traits> &args;

  __device__ __forceinline__ HeadScales(const Arguments<Traits> &args, int) : args(args) {}

  // The softmax scale, times log2(e).
  __device__ __forceinline__ float of_scores() const { return args.softmax_scale_log2; }
  __device__ __forceinline__ float of_outputs() const { return 1; }
};

// The scale of quantised keys is a part of the softmax scale.
template <class Traits>
struct HeadScales<Traits, true> {
  // Where the scale is 0, hidden keys must still have a score of -inf, and others one that is next to nothing.
  static constexpr float kLeastScale = 0x1p-126f;

  const float k, v;

  __device__ __forceinline__ HeadScales(const Arguments<Traits> &args, int kv_head)
      : k(fmaxf(args.softmax_scale_log2 * args.k_scales[kv_head], kLeastScale)), v(args.v_scales[kv_head]) {}

  __device__ __forceinline__ float of_scores() const { return k; }
  __device__ __forceinline__ float of_outputs() const { return v / Traits::kWeightFactor; }
};

}  // namespace evoflash::decode
#endif
