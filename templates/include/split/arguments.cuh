#pragma once

#include "score_features.h"
#include "tensors.cuh"
#include "tma.cuh"

// The kernel's parameters. What a kernel does not need takes no place.
namespace evoflash::split {

struct InputArguments {
  TensorMap q, k, v;
};

struct OutputArguments {
  Tensor out;
};

template <bool kHasFixedSizes>
struct SizeArguments {
  int seq_q, seq_kv;
  unsigned group_inverse;  // of the heads that share keys and values
};
template <>
struct SizeArguments<true> {};

template <class Traits>
struct Arguments : InputArguments,
                   OutputArguments,
                   SizeArguments<Traits::kHasFixedSizes>,
                   FeatureArguments<kHasFeatures<Traits>> {
  // The scale times log2(e), as probabilities are computed as powers of two; log2(e) alone where scores are scaled
  // before.
  float softmax_scale_log2;
};

// The sizes, as constants where the kernel takes no others.
#ifndef EVOFLASH_HOST_ONLY
template <class Traits>
__device__ __forceinline__ int seq_q_of(const Arguments<Traits> &args) {
  if constexpr (Traits::kHasFixedSizes) {
    return Traits::kSeqQ;
  } else {
    return args.seq_q;
  }
}

template <class Traits>
__device__ __forceinline__ int seq_kv_of(const Arguments<Traits> &args) {
  if constexpr (Traits::kHasFixedSizes) {
    return Traits::kSeqKv;
  } else {
    return args.seq_kv;
  }
}

template <class Traits>
__device__ __forceinline__ int kv_head_of(const Arguments<Traits> &args, int bidh) {
  if constexpr (Traits::kHasFixedSizes) {
    return bidh / Traits::kHeadsPerKvHead;
  } else {
    return evoflash::kv_head_of(bidh, args.group_inverse);
  }
}

// The end of the keys that a row sees. Without a band every row sees key 0, as the causal mask is aligned to the top
// left.
template <class Traits>
__device__ __forceinline__ int visible_keys(const Arguments<Traits> &args, int row) {
  if constexpr (Traits::kIsBanded) {
    return end_key<Traits>(args.problem, row);
  } else if constexpr (Traits::kIsCausal) {
    return min(row + 1, seq_kv_of(args));
  } else {
    return seq_kv_of(args);
  }
}
#endif

}  // namespace evoflash::split
