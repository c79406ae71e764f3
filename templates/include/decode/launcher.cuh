#pragma once

#include "checks.cuh"
#include "decode/arguments.cuh"
#include "decode/combine.cuh"
#include "decode/kernel_traits.cuh"
#include "launch.cuh"
#include "math.cuh"

// The launcher: it refuses what the kernel cannot compute, decides over how many blocks the keys are split, and
// prepares the arguments.
#ifndef EVOFLASH_DEVICE_ONLY
namespace evoflash::decode {
namespace {

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
  int num_rows;      // of a key-value head: query tokens times heads of a group
  int num_m_blocks;  // tiles of rows
  int num_splits;    // of the grid

  explicit Partition(const AttentionProblem &problem)
      : num_rows(problem.seq_q * (problem.heads / problem.kv_heads)),
        num_m_blocks((num_rows + Traits::kBlockM - 1) / Traits::kBlockM),
        num_splits(1) {
    if constexpr (Traits::kIsShared) {
      // Shares of each key-value head, which have a step for each warp.
      const int64_t steps = int64_t((visible_keys<Traits>(problem) - 1) / Traits::kWarpN + 1) * num_m_blocks;
      const int64_t most = steps * problem.batch / Traits::kWarps, room = Traits::kWaveBlocks / problem.kv_heads;
      num_splits = int(most < room ? most : room);
      num_splits = num_splits > 1 ? num_splits : 1;
    } else if constexpr (Traits::kIsGridSplit) {
      // As many as fill the device, as long as each warp has a step.
      const int steps = (visible_keys<Traits>(problem) - 1) / Traits::kWarpN + 1;
      const int room = Traits::kWaveBlocks / num_m_blocks / problem.kv_heads / problem.batch / Traits::kCluster;
      const int limits[] = {room, steps / (Traits::kCluster * Traits::kWarps), kMaxSplits};
      num_splits = limits[0];
      for (const int limit : limits) num_splits = limit < num_splits ? limit : num_splits;
      num_splits = num_splits > 1 ? num_splits : 1;
    }
  }

  // Rows of partial outputs.
  size_t partial_rows(const AttentionProblem &problem) const {
    if (Traits::kIsShared) return size_t(2) * num_splits * problem.kv_heads * Traits::kBlockM;
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
  if (Traits::kIsShared) {
    const int64_t tiles = (rows / Traits::kBlockM + 1) * problem.batch;
    if (tiles > INT32_MAX || tiles * (int64_t(problem.seq_kv) / Traits::kWarpN + 1) > INT32_MAX / 2) return false;
  }
  return fits_grid(problem.kv_heads, problem.batch) && rows <= INT32_MAX / (Traits::kCluster * kMaxSplits);
}

// Strides of keys or values in the tile's elements of 16 bits.
template <class Traits>
struct TileStrides {
  int64_t of[3];

  explicit TileStrides(const int64_t (&stride)[3]) {
    for (int i = 0; i < 3; ++i) of[i] = stride[i] * Traits::kKvElementBytes / 2;
  }
};

template <class Traits>
bool is_supported(const AttentionProblem &problem) {
  if (!matches<Traits>(problem, Traits::kHeadDim, Traits::kHeadDim)) return false;
  if (!q_rows_aligned(problem, sizeof(typename Traits::Element), 16)) return false;
  if (!kv_rows_aligned(problem, Traits::kKvElementBytes, 16)) return false;
  if (!strides_fit_int(problem.q_stride) || !strides_fit_int(problem.out_stride)) return false;
  const TileStrides<Traits> k(problem.k_stride), v(problem.v_stride);
  if (!Traits::kIsTma && (!strides_fit_int(k.of) || !strides_fit_int(v.of))) return false;
  if (!(problem.scale > 0)) return false;  // the maximum is taken before scaling
  return is_countable<Traits>(problem);
}

template <class Traits>
int set_keys(Arguments<Traits> &args, const AttentionProblem &problem) {
  const TileStrides<Traits> k(problem.k_stride), v(problem.v_stride);
  if constexpr (Traits::kIsTma) {
    constexpr int kDims = Traits::kKvDims;
    using Panel = typename Traits::KvPanel;
    const int batch = Traits::kIsPaged ? problem.num_pages : problem.batch, heads = problem.kv_heads;
    const int rows = Traits::kIsPaged ? problem.page_size : problem.seq_kv, box = Traits::kPageRows;
    if (int error = encode_tensor_map<kDims, Panel>(&args.k, problem.k, k.of, batch, heads, rows, box)) return error;
    return encode_tensor_map<kDims, Panel>(&args.v, problem.v, v.of, batch, heads, rows, box);
  } else {
    args.k = make_tensor(problem.k, k.of);
    args.v = make_tensor(problem.v, v.of);
    return 0;
  }
}

template <class Traits>
size_t workspace_bytes(const AttentionProblem &problem) {
  if (!is_supported<Traits>(problem) || is_empty(problem)) return 0;
  return Partition<Traits>(problem).partial_rows(problem) * (Traits::kHeadDim * sizeof(float) + 2 * sizeof(float));
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
  if constexpr (Traits::kIsQuantized) {
    args.k_scales = problem.k_scales;
    args.v_scales = problem.v_scales;
  }
  if constexpr (Traits::kStoresLse) args.lse = lse_of(problem);
  if constexpr (Traits::kHasLengths) args.lengths = problem.lengths;
  if constexpr (Traits::kIsPaged) {
    args.block_table = problem.block_table;
    args.table_stride = problem.table_stride;
  }
  if constexpr (Traits::kIsShared) {
    args.num_tiles = partition.num_m_blocks * problem.batch;
    args.num_shares = partition.num_splits;
    args.kv_heads = problem.kv_heads;
  }
  if constexpr (Traits::kIsGridSplit) {
    args.partials = static_cast<float *>(problem.workspace);
    args.stats = args.partials + partition.partial_rows(problem) * Traits::kHeadDim;
    args.num_splits = partition.num_splits;
  }

  const Dim grid = Traits::kIsShared ? Dim(problem.kv_heads, partition.num_splits)
                                     : Dim(partition.num_m_blocks * partition.num_splits * Traits::kCluster,
                                           problem.kv_heads, problem.batch);
  if (int error = launch(attention, {grid, Traits::kNumThreads, Traits::kSmemBytes, Traits::kCluster, Traits::kIsEarly},
                         stream, args))
    return error;
  if (partition.num_splits == 1 && !Traits::kIsShared) return 0;
  Shape shape{Dim(args.num_rows, problem.kv_heads, problem.batch), kCombineThreads, CombineStorage<Traits>::kBytes};
  shape.is_dependent = Traits::kIsDependent;
  return launch(*combine, shape, stream, args);
}

}  // namespace
}  // namespace evoflash::decode
#endif
