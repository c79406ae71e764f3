#pragma once

#include "checks.cuh"
#include "combine.cuh"
#include "launch.cuh"
#include "math.cuh"
#include "mma/arguments.cuh"
#include "mma/kernel_traits.cuh"
#include "smem_tile.cuh"

// The launcher: it refuses what the kernel cannot compute, and prepares the arguments.
#ifndef EVOFLASH_DEVICE_ONLY
namespace evoflash::mma {
namespace {

template <class Traits>
bool is_supported(const AttentionProblem &problem) {
  if (!matches<Traits>(problem, Traits::kHeadDim, Traits::kValueDim)) return false;
  if (!rows_aligned(problem, sizeof(typename Traits::Element), 16)) return false;
  if (!strides_fit_int(problem.out_stride)) return false;
  if (!Traits::kIsTma &&
      (!strides_fit_int(problem.q_stride) || !strides_fit_int(problem.k_stride) || !strides_fit_int(problem.v_stride)))
    return false;
  if (problem.heads > 32768) return false;  // see group_inverse
  if (!(problem.scale > 0)) return false;   // the maximum is taken before scaling
  if (Traits::kHasFixedSizes) {
    if (problem.seq_q != Traits::kSeqQ || problem.seq_kv != Traits::kSeqKv) return false;
    if (Traits::kIsPersistent || Traits::kIsSplitKv) {
      if (problem.heads != Traits::kNumHeads || problem.kv_heads != Traits::kNumKvHeads) return false;
    } else {
      if (problem.heads != Traits::kHeadsPerKvHead * problem.kv_heads) return false;
    }
  } else if (!Traits::kIsOnline) {
    if (problem.seq_kv > Traits::kBlockN) return false;  // more than the warps hold at once
  }
  return true;
}

template <class Traits>
int64_t num_m_blocks(const AttentionProblem &problem) {
  return (int64_t(problem.seq_q) + Traits::kBlockM - 1) / Traits::kBlockM;
}

template <class Traits>
int64_t num_tiles(const AttentionProblem &problem) {
  return num_m_blocks<Traits>(problem) * problem.heads * problem.batch;
}

// Whether the tiles can be counted, and the dimensions of the grid are allowed.
template <class Traits>
bool fits(const AttentionProblem &problem) {
  if (Traits::kIsSplitKv && !can_combine<Traits::kValueDim>(problem)) return false;
  if (Traits::kIsPersistent) return num_tiles<Traits>(problem) <= INT32_MAX - Traits::kResidentBlocks;
  return fits_grid(Traits::kLongestFirst ? num_m_blocks<Traits>(problem) : problem.heads, problem.batch);
}

template <class Traits>
Dim grid_of(const AttentionProblem &problem) {
  const unsigned m_blocks = unsigned(num_m_blocks<Traits>(problem));
  if (Traits::kIsPersistent) {
    const int64_t tiles = num_tiles<Traits>(problem);
    return Dim(unsigned(tiles < Traits::kResidentBlocks ? tiles : Traits::kResidentBlocks));
  }
  if (Traits::kLongestFirst) return Dim(problem.heads * Traits::kNumSplits, m_blocks, problem.batch);
  return Dim(m_blocks * Traits::kNumSplits, problem.heads, problem.batch);
}

template <class Traits>
int set_tensors(Arguments<Traits> &args, const AttentionProblem &problem) {
  if constexpr (Traits::kIsTma) {
    constexpr int kHeadDim = Traits::kHeadDim, kValueDim = Traits::kValueDim;
    using Panel = SmemPanel<kHeadDim>;
    const int batch = problem.batch, kv_heads = problem.kv_heads;
    if (int error = encode_tensor_map<kHeadDim, Panel>(&args.q, problem.q, problem.q_stride, batch, problem.heads,
                                                       problem.seq_q, Traits::kBlockM))
      return error;
    if (int error = encode_tensor_map<kHeadDim, Panel>(&args.k, problem.k, problem.k_stride, batch, kv_heads,
                                                       problem.seq_kv, Traits::kChunkN))
      return error;
    if (int error = encode_tensor_map<kValueDim, SmemPanel<kValueDim>>(&args.v, problem.v, problem.v_stride, batch,
                                                                       kv_heads, problem.seq_kv, Traits::kChunkN))
      return error;
  } else {
    args.q = make_tensor(problem.q, problem.q_stride);
    args.k = make_tensor(problem.k, problem.k_stride);
    args.v = make_tensor(problem.v, problem.v_stride);
  }
  args.out = make_tensor(problem.out, problem.out_stride);
  return 0;
}

template <class Traits>
void set_sizes(Arguments<Traits> &args, const AttentionProblem &problem) {
  if constexpr (Traits::kIsPersistent) args.num_tiles = int(num_tiles<Traits>(problem));
  if constexpr (!Traits::kHasFixedSizes) {
    if constexpr (Traits::kIsPersistent) {
      args.num_m_blocks = int(num_m_blocks<Traits>(problem));
      args.num_heads = problem.heads;
    }
    args.seq_q = problem.seq_q;
    args.seq_kv = problem.seq_kv;
    args.group_inverse = group_inverse(problem.heads / problem.kv_heads);
  }
  args.softmax_scale_log2 = kHasFullScores<Traits> ? kLog2E : problem.scale * kLog2E;
  if constexpr (kHasFeatures<Traits>) args.problem = problem;
  if constexpr (Traits::kStoresLse) args.lse = lse_of(problem);
}

template <class Traits>
size_t workspace_bytes(const AttentionProblem &problem) {
  if constexpr (Traits::kIsSplitKv) {
    return split_partials_bytes<typename Traits::ElementPartial, Traits::kValueDim, Traits::kNumSplits>(problem);
  } else {
    return 0;
  }
}

// `combine` is the second kernel of split-KV; null without.
template <class Traits>
int launch_attention(const AttentionProblem &problem, void *stream, Kernel &attention, Kernel *combine) {
  if (!is_supported<Traits>(problem) || !fits<Traits>(problem)) return EVOFLASH_UNSUPPORTED;
  Arguments<Traits> args{};
  if (int error = set_tensors(args, problem)) return error;
  if constexpr (Traits::kIsSplitKv)
    args.partials = split_partials_in<typename Traits::ElementPartial, Traits::kValueDim, Traits::kNumSplits>(
        problem.workspace, problem);
  set_sizes(args, problem);
  const Shape shape{grid_of<Traits>(problem), Traits::kNumThreads, Traits::kSmemBytes,
                    Traits::kIsCluster ? Traits::kNumSplits : 1, Traits::kIsEarly};
  if (int error = launch(attention, shape, stream, args)) return error;
  if constexpr (Traits::kIsSplitKv) return launch_combine<Traits::kValueDim>(*combine, problem, args, stream);
  return 0;
}

}  // namespace
}  // namespace evoflash::mma
#endif
