#pragma once

#include "attention_problem.h"
#include "checks.cuh"
#include "launch.cuh"
#include "math.cuh"
#include "split/arguments.cuh"
#include "split/kernel_traits.cuh"

#ifndef EVOFLASH_DEVICE_ONLY
namespace evoflash::split {
namespace {

template <class Traits>
bool is_supported(const AttentionProblem &problem) {
  if (!matches<Traits>(problem, Traits::kHeadDim, Traits::kValueDim)) return false;
  if (!rows_aligned(problem, sizeof(typename Traits::Element), 16)) return false;
  if (!strides_fit_int(problem.out_stride)) return false;
  if (problem.heads > 32768) return false;  // see group_inverse
  if (!(problem.scale > 0)) return false;   // the maximum is taken before scaling
  if constexpr (Traits::kHasFixedSizes) {
    if (problem.seq_q != Traits::kSeqQ || problem.seq_kv != Traits::kSeqKv) return false;
    if (problem.heads != Traits::kHeadsPerKvHead * problem.kv_heads) return false;
  } else if constexpr (!Traits::kIsOnline) {
    if (problem.seq_kv > Traits::kStepKeys) return false;  // more than shared memory holds at once
  }
  return fits_grid(problem.heads, problem.batch);
}

template <class Traits>
int encode_tensor_maps(Arguments<Traits> &args, const AttentionProblem &problem) {
  using Panel = typename Traits::Panel;
  using ValuePanel = typename Traits::ValuePanel;
  constexpr int kHeadDim = Traits::kHeadDim, kValueDim = Traits::kValueDim;
  const int batch = problem.batch, heads = problem.heads, kv_heads = problem.kv_heads;
  const int seq_q = problem.seq_q, seq_kv = problem.seq_kv;
  int error = encode_tensor_map<kHeadDim, Panel>(&args.q, problem.q, problem.q_stride, batch, heads, seq_q,
                                                 Traits::kWarpgroupM);
  if (error) return error;
  error = encode_tensor_map<kHeadDim, Panel>(&args.k, problem.k, problem.k_stride, batch, kv_heads, seq_kv,
                                             Traits::kPartKeys);
  if (error) return error;
  return encode_tensor_map<kValueDim, ValuePanel>(&args.v, problem.v, problem.v_stride, batch, kv_heads, seq_kv,
                                                  Traits::kBlockN);
}

template <class Traits>
int launch(const AttentionProblem &problem, void *stream, Kernel &kernel) {
  if (!is_supported<Traits>(problem)) return EVOFLASH_UNSUPPORTED;
  Arguments<Traits> args{};
  if (int error = encode_tensor_maps(args, problem)) return error;
  args.out = make_tensor(problem.out, problem.out_stride);
  if constexpr (!Traits::kHasFixedSizes) {
    args.seq_q = problem.seq_q;
    args.seq_kv = problem.seq_kv;
    args.group_inverse = group_inverse(problem.heads / problem.kv_heads);
  }
  args.softmax_scale_log2 = kHasFullScores<Traits> ? kLog2E : problem.scale * kLog2E;
  if constexpr (kHasFeatures<Traits>) args.problem = problem;

  const unsigned m_blocks = unsigned((int64_t(problem.seq_q) + Traits::kBlockM - 1) / Traits::kBlockM);
  const Dim grid(m_blocks * Traits::kCluster, problem.heads, problem.batch);
  return evoflash::launch(kernel, {grid, Traits::kNumThreads, Traits::kSmemBytes, Traits::kCluster, Traits::kIsEarly},
                          stream, args);
}

}  // namespace
}  // namespace evoflash::split
#endif
