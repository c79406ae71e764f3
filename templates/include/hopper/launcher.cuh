#pragma once

#include "attention_problem.h"
#include "checks.cuh"
#include "combine.cuh"
#include "hopper/arguments.cuh"
#include "hopper/kernel_traits.cuh"
#include "launch.cuh"
#include "math.cuh"

#ifndef EVOFLASH_DEVICE_ONLY
namespace evoflash::hopper {
namespace {

// The kernels that a launch consists of. The counter's and the second one are needed by some configurations only.
struct Kernels {
  Kernel *attention, *init_counter, *combine;
};

// The tiles of a head, and of all heads and batches.
template <class Traits>
int64_t m_blocks(const AttentionProblem &problem) {
  return (int64_t(problem.seq_q) + Traits::kTileM - 1) / Traits::kTileM;
}
template <class Traits>
int64_t unsplit_tiles(const AttentionProblem &problem) {
  return m_blocks<Traits>(problem) * (problem.heads / Traits::kTileHeads) * problem.batch;
}

// With SplitTiles::kRest, the tiles that are split, and their rows.
template <class Traits>
int64_t rest_tiles(const AttentionProblem &problem) {
  return unsplit_tiles<Traits>(problem) % Traits::kResident;
}
template <class Traits>
int64_t rest_rows(const AttentionProblem &problem) {
  return rest_tiles<Traits>(problem) * Traits::kTileRows;
}

// The workspace holds the partial outputs of split-KV, then the counter of the dynamic schedule.
template <class Traits>
size_t partials_bytes(const AttentionProblem &problem) {
  if constexpr (Traits::kSplitsRest) {
    return split_partials_bytes<typename Traits::ElementPartial, Traits::kValueDim, Traits::kNumSplits>(
        rest_rows<Traits>(problem));
  } else if constexpr (Traits::kIsSplitKv) {
    return split_partials_bytes<typename Traits::ElementPartial, Traits::kValueDim, Traits::kNumSplits>(problem);
  } else {
    return 0;
  }
}

template <class Traits>
size_t workspace_bytes(const AttentionProblem &problem) {
  return partials_bytes<Traits>(problem) + (Traits::kIsDynamic ? sizeof(int) : 0);
}

// The tiles that blocks or clusters compute, of all splits.
template <class Traits>
int64_t num_tiles(const AttentionProblem &problem) {
  if constexpr (Traits::kSplitsRest) {
    return unsplit_tiles<Traits>(problem) + rest_tiles<Traits>(problem) * (Traits::kNumSplits - 1);
  } else {
    return unsplit_tiles<Traits>(problem) * Traits::kNumSplits;
  }
}

template <class Traits>
bool is_supported(const AttentionProblem &problem) {
  constexpr int kElementBytes = sizeof(typename Traits::Element);
  if (!matches<Traits>(problem, Traits::kHeadDim, Traits::kValueDim)) return false;
  if (!rows_aligned(problem, kElementBytes, 16)) return false;
  if (!strides_fit_int(problem.out_stride)) return false;
  if (problem.heads > 32768) return false;  // see group_inverse
  if (!(problem.scale > 0)) return false;   // the maximum is taken before scaling
  if (problem.heads / problem.kv_heads % Traits::kTileHeads != 0) return false;
  if (num_tiles<Traits>(problem) > INT32_MAX / Traits::kCluster) return false;
  if constexpr (Traits::kIsSplitKv && !Traits::kSplitsRest) return can_combine<Traits::kValueDim>(problem);
  return true;
}

// A section consists of as many heads, of all batches, as `bytes` hold keys and values of. All sections are alike.
template <class Traits>
int64_t heads_of_section(const AttentionProblem &problem, int64_t bytes) {
  constexpr int kElementBytes = sizeof(typename Traits::Element);
  const int64_t groups = problem.heads / Traits::kTileHeads, all_groups = groups * problem.batch;
  const int64_t kv_bytes = int64_t(problem.seq_kv) * (Traits::kHeadDim + Traits::kValueDim) * kElementBytes;
  int64_t section = bytes / kv_bytes * (groups / problem.kv_heads);
  section = section < 1 ? 1 : section < all_groups ? section : all_groups;
  while (all_groups % section != 0) --section;
  return section;
}

template <class Traits>
int encode_tensor_maps(Arguments<Traits> &args, const AttentionProblem &problem) {
  using Panel = typename Traits::Panel;
  using ValuePanel = typename Traits::ValuePanel;
  constexpr int kHeadDim = Traits::kHeadDim, kValueDim = Traits::kValueDim, kWarpgroupM = Traits::kWarpgroupM;
  constexpr int kKvRows = Traits::kBlockN / Traits::kCluster;  // that a block loads
  const int batch = problem.batch, heads = problem.heads, kv_heads = problem.kv_heads;
  const int seq_q = problem.seq_q, seq_kv = problem.seq_kv;
  int error =
      encode_tensor_map<kHeadDim, Panel>(&args.q, problem.q, problem.q_stride, batch, heads, seq_q, kWarpgroupM);
  if (error) return error;
  error = encode_tensor_map<kHeadDim, Panel>(&args.k, problem.k, problem.k_stride, batch, kv_heads, seq_kv, kKvRows);
  if (error) return error;
  error =
      encode_tensor_map<kValueDim, ValuePanel>(&args.v, problem.v, problem.v_stride, batch, kv_heads, seq_kv, kKvRows);
  if (error) return error;
  if constexpr (Traits::kIsTmaStore) {
    return encode_tensor_map<kValueDim, ValuePanel>(&args.out, problem.out, problem.out_stride, batch, heads, seq_q,
                                                    kWarpgroupM);
  } else {
    args.out = make_tensor(problem.out, problem.out_stride);
    return 0;
  }
}

template <class Traits>
int launch(const AttentionProblem &problem, void *stream, const Kernels &kernels) {
  if (!is_supported<Traits>(problem)) return EVOFLASH_UNSUPPORTED;
  Arguments<Traits> args{};
  if (int error = encode_tensor_maps(args, problem)) return error;

  const int num_m_blocks = int(m_blocks<Traits>(problem));
  args.seq_q = problem.seq_q;
  args.seq_kv = problem.seq_kv;
  args.num_tiles = int(num_tiles<Traits>(problem));
  args.heads = make_fast_divmod(problem.heads / Traits::kTileHeads);
  args.m_blocks = make_fast_divmod(num_m_blocks);
  if constexpr (Traits::kIsSectioned) {
    int num_long = num_m_blocks;  // tiles of a group of heads
    if constexpr (Traits::kIsShortLast) {
      // The first quarter of the rows sees a quarter of the keys, so a section has four times as many heads.
      const int num_short = num_m_blocks / 4;
      const int64_t section = heads_of_section<Traits>(problem, 4 * Traits::kSectionBytes);
      num_long -= num_short;
      args.short_section = make_fast_divmod(int(section));
      args.short_section_tiles = make_fast_divmod(int(num_short > 0 ? section * num_short : 1));  // or unused
      args.long_tiles = int(num_long * unsplit_tiles<Traits>(problem) / num_m_blocks);
    }
    const int64_t section = heads_of_section<Traits>(problem, Traits::kSectionBytes);
    args.section = make_fast_divmod(int(section));
    args.section_tiles = make_fast_divmod(int(section * num_long));
  }
  args.group_inverse = group_inverse(problem.heads / problem.kv_heads);
  args.softmax_scale_log2 = kHasFullScores<Traits> ? kLog2E : problem.scale * kLog2E;
  if constexpr (kHasFeatures<Traits>) args.problem = problem;

  int clusters = args.num_tiles;
  if constexpr (Traits::kIsPersistent) clusters = clusters < Traits::kResident ? clusters : Traits::kResident;
  const unsigned blocks = unsigned(clusters) * Traits::kCluster;
  if constexpr (Traits::kIsDynamic) {
    auto *const workspace = static_cast<unsigned char *>(problem.workspace);
    args.next_tile = reinterpret_cast<int *>(workspace + partials_bytes<Traits>(problem));
    const int first = int(blocks);  // each block starts with the tile of its own number
    if (int error = evoflash::launch(*kernels.init_counter, {1, 1}, stream, args.next_tile, first)) return error;
  }
  if constexpr (Traits::kIsSplitKv) {
    using Partial = typename Traits::ElementPartial;
    if constexpr (Traits::kSplitsRest) {
      const int64_t rest = rest_tiles<Traits>(problem);
      args.partials = split_partials_in<Partial, Traits::kValueDim, Traits::kNumSplits>(
          problem.workspace, rest_rows<Traits>(problem), problem.heads);
      args.combined = make_tensor(problem.out, problem.out_stride);
      args.whole_tiles = int(unsplit_tiles<Traits>(problem) - rest);
    } else {
      args.partials = split_partials_in<Partial, Traits::kValueDim, Traits::kNumSplits>(problem.workspace, problem);
    }
  }

  const Shape shape = {blocks, Traits::kNumThreads, Traits::kSmemBytes, Traits::kCluster, Traits::kIsEarly};
  if (int error = evoflash::launch(*kernels.attention, shape, stream, args)) return error;
  if constexpr (Traits::kSplitsRest) {
    const unsigned threads = unsigned(args.partials.rows) * kCombineThreadsPerRow<Traits::kValueDim>;
    if (threads == 0) return 0;
    const Shape rest = {(threads + kCombineThreads - 1) / kCombineThreads, kCombineThreads};
    return evoflash::launch(*kernels.combine, rest, stream, args);
  }
  if constexpr (Traits::kIsSplitKv && !Traits::kSplitsRest)
    return launch_combine<Traits::kValueDim>(*kernels.combine, problem, args, stream);
  return 0;
}

}  // namespace
}  // namespace evoflash::hopper
#endif
