#pragma once

#include "checks.cuh"
#include "latent/arguments.cuh"
#include "latent/combine.cuh"
#include "latent/kernel_traits.cuh"
#include "launch.cuh"
#include "log2e.h"

// The launcher: it refuses what the kernel cannot compute, decides over how many blocks the keys are split, and
// prepares the arguments.
#ifndef EVOFLASH_DEVICE_ONLY
namespace evoflash::latent {
namespace {

constexpr int kMaxSplits = 256;

// How many keys the rows see together, at most.
template <class Traits>
int visible_keys(const AttentionProblem &problem) {
  int64_t most = problem.seq_kv;
  if (Traits::kIsBanded) {
    if (problem.window_left >= 0 && problem.window_right >= 0)
      most = int64_t(problem.window_left) + problem.window_right + problem.seq_q;
  } else if (Traits::kIsCausal) {
    most = problem.seq_q;
  }
  return most < problem.seq_kv ? int(most) : problem.seq_kv;
}

// How a problem that `is_countable` is cut up.
template <class Traits>
struct Partition {
  int num_rows;      // of a key head: query tokens times heads of a group
  int num_m_blocks;  // tiles of rows
  int num_splits;    // of the grid

  explicit Partition(const AttentionProblem &problem)
      : num_rows(problem.seq_q * (problem.heads / problem.kv_heads)),
        num_m_blocks((num_rows + Traits::kBlockM - 1) / Traits::kBlockM),
        num_splits(1) {
    if constexpr (Traits::kIsGridSplit) {
      // As many as fill the device, as long as each block has a step.
      const int steps = (visible_keys<Traits>(problem) - 1) / Traits::kBlockN + 1;
      const int room = Traits::kWaveBlocks / num_m_blocks / problem.kv_heads / problem.batch / Traits::kCluster;
      const int limits[] = {room, steps / Traits::kCluster, kMaxSplits};
      num_splits = limits[0];
      for (const int limit : limits) num_splits = limit < num_splits ? limit : num_splits;
      num_splits = num_splits > 1 ? num_splits : 1;
    }
  }

  // Rows of partial outputs.
  size_t partial_rows(const AttentionProblem &problem) const {
    return num_splits > 1 ? size_t(num_rows) * problem.kv_heads * problem.batch * num_splits : 0;
  }
};

inline bool is_empty(const AttentionProblem &problem) {
  return problem.batch == 0 || problem.heads == 0 || problem.seq_q == 0;
}

// Whether rows and blocks can be counted, and the dimensions of the grid are allowed.
template <class Traits>
bool is_countable(const AttentionProblem &problem) {
  const int64_t rows = int64_t(problem.seq_q) * (problem.heads / problem.kv_heads);
  return fits_grid(problem.kv_heads, problem.batch) && rows <= INT32_MAX / (Traits::kCluster * kMaxSplits);
}

// Whether the values are the keys' first columns.
inline bool is_latent(const AttentionProblem &problem) {
  const auto differs = [&](int i, int size) { return size > 1 && problem.k_stride[i] != problem.v_stride[i]; };
  return problem.v == problem.k && !differs(0, problem.batch) && !differs(1, problem.kv_heads) &&
         !differs(2, problem.seq_kv);
}

template <class Traits>
bool is_supported(const AttentionProblem &problem) {
  if (!matches<Traits>(problem, Traits::kHeadDim, Traits::kValueDim) || !is_latent(problem)) return false;
  if (!rows_aligned(problem, sizeof(typename Traits::Element), 16)) return false;
  if (!strides_fit_int(problem.q_stride) || !strides_fit_int(problem.out_stride)) return false;
  if (!Traits::kIsTma && !strides_fit_int(problem.k_stride)) return false;
  return is_countable<Traits>(problem);
}

template <class Traits>
int set_keys(Arguments<Traits> &args, const AttentionProblem &problem) {
  if constexpr (Traits::kIsTma) {
    return encode_tensor_map<Traits::kHeadDim, typename Traits::Panel>(
        &args.k, problem.k, problem.k_stride, problem.batch, problem.kv_heads, problem.seq_kv, Traits::kBlockN);
  } else {
    args.k = make_tensor(problem.k, problem.k_stride);
    return 0;
  }
}

template <class Traits>
size_t workspace_bytes(const AttentionProblem &problem) {
  if (!is_supported<Traits>(problem) || is_empty(problem)) return 0;
  const Partition<Traits> partition(problem);
  return partition.partial_rows(problem) * (Traits::kRowPieces * 16 + 8);
}

// `combine` is the second kernel; null where the grid is not split.
template <class Traits>
int launch_attention(const AttentionProblem &problem, void *stream, Kernel &attention, Kernel *combine) {
  if (!is_supported<Traits>(problem)) return EVOFLASH_UNSUPPORTED;
  if (is_empty(problem)) return 0;
  const Partition<Traits> partition(problem);
  Arguments<Traits> args{};
  if (int error = set_keys(args, problem)) return error;
  args.q = make_tensor(problem.q, problem.q_stride);
  args.out = make_tensor(problem.out, problem.out_stride);
  args.num_rows = partition.num_rows;
  args.seq_kv = problem.seq_kv;
  args.group = make_fast_divmod(problem.heads / problem.kv_heads);
  args.num_m_blocks = make_fast_divmod(partition.num_m_blocks);
  args.num_parts = make_fast_divmod(partition.num_splits * Traits::kCluster);
  args.softmax_scale_log2 = problem.scale * kLog2E;
  if constexpr (Traits::kIsBanded) args.problem = problem;
  if constexpr (Traits::kIsGridSplit) {
    args.partials = problem.workspace;
    args.stats = static_cast<char *>(problem.workspace) + partition.partial_rows(problem) * Traits::kRowPieces * 16;
    args.num_splits = partition.num_splits;
  }

  const Dim grid(partition.num_m_blocks * partition.num_splits * Traits::kCluster, problem.kv_heads, problem.batch);
  if (int error = launch(attention, {grid, Traits::kNumThreads, Traits::kSmemBytes, Traits::kCluster, Traits::kIsEarly},
                         stream, args))
    return error;
  if (partition.num_splits == 1) return 0;
  Shape shape{Dim(args.num_rows * kCombineBlocksPerRow<Traits>, problem.kv_heads, problem.batch), kCombineThreads,
              kCombineBytes<Traits>};
  shape.is_dependent = Traits::kIsDependent;
  return launch(*combine, shape, stream, args);
}

}  // namespace
}  // namespace evoflash::latent
#endif
