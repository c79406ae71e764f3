#pragma once

#include "numeric_types.cuh"
#include "problem.cuh"
#include "scalar/kernel_traits.cuh"
#include "scalar/row_group.cuh"
#include "scalar/scores.cuh"
#include "scalar/staging.cuh"
#include "scalar/storage.cuh"
#include "score_terms.cuh"
#include "warp.cuh"

// The kernel's body: a block computes kBlockM rows of a head, each of its groups of threads one of them.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::scalar {

template <class Traits>
__device__ __forceinline__ void compute_rows(const AttentionProblem &all, unsigned char *smem) {
  using Element = typename Traits::Element;
  using KvElement = typename Traits::KvElement;
  constexpr int kBlockN = Traits::kBlockN, kVector = Traits::kVector;
  static_assert(sizeof(SharedStorage<Traits>) == Traits::kSmemBytes, "the search space computes what the kernel takes");
  SharedStorage<Traits> &storage = *reinterpret_cast<SharedStorage<Traits> *>(smem);

  const int bidh = blockIdx.y, bidb = blockIdx.z, kv_head = kv_head_of(all, bidh);
  const AttentionProblem &problem = sequence_of<Traits>(all, bidb);
  if constexpr (Traits::kIsPacked) {
    // The grid is as long as the longest sequence. A block beyond the rows of a shorter one ends at once, which takes
    // less than a list of the blocks with rows: lengths are known on the device alone, where a kernel would make it.
    if (int64_t(blockIdx.x) * Traits::kBlockM >= problem.seq_q) return;
  }
  const RowGroup<Traits> group{storage};
  int row = blockIdx.x;
  bool is_valid = true;
  if constexpr (!Traits::kIsRowOfBlock) {
    row = int(blockIdx.x) * Traits::kBlockM + group.index;
    is_valid = row < problem.seq_q;
    if constexpr (Traits::kIsStaged) {
      row = min(row, problem.seq_q - 1);  // a warp beyond the last row computes that row again: the block has barriers
    } else {
      if (!is_valid) return;  // a whole warp, and no barrier of the block follows
    }
  }
  const Element *q = static_cast<const Element *>(problem.q);
  q = rows_of(q, problem.q_stride, bidb, bidh) + row * problem.q_stride[2];
  // Of key 0, or of page 0.
  const int place = Traits::kPageSize > 0 ? 0 : bidb;
  const KvElement *k = rows_of(static_cast<const KvElement *>(problem.k), problem.k_stride, place, kv_head);
  const KvElement *v = rows_of(static_cast<const KvElement *>(problem.v), problem.v_stride, place, kv_head);
  Element *out = static_cast<Element *>(problem.out);
  out = rows_of(out, problem.out_stride, bidb, bidh) + row * problem.out_stride[2];

  const float scale = softmax_scale<Traits>(problem, kv_head);
  for (int i = group.thread; i < Traits::kHeadDim; i += Traits::kGroupThreads)
    storage.q[group.index][i] = to_float(q[i]) * scale;
  group.sync();

  const ThreadCoord<Traits> coord(group.thread);
  const ScoreTerms<Traits> terms(problem, bidb, bidh, row);
  const int own_first = first_key<Traits>(problem, row), own_end = end_key<Traits>(problem, row);
  float row_max = -INFINITY;
  float row_sum = 0;  // of the probabilities that this thread has computed
  float acc_o[Traits::kVectorsPerThread][kVector] = {};

  // Mainloop.
  const int key_begin = Traits::kIsStaged ? first_key_of_block<Traits>(problem) : own_first;
  const int key_end = Traits::kIsStaged ? end_key_of_block<Traits>(problem) : own_end;
  for (int first = key_begin; first < key_end; first += kBlockN) {
    if constexpr (Traits::kIsStaged) {
      __syncthreads();  // all have read the tiles of the step before
      const int num_rows = min(kBlockN, key_end - first);
      if constexpr (Traits::kPageSize > 0) {
        load_paged_tile<Traits>(storage.k, problem, k, problem.k_stride, first, num_rows);
        load_paged_tile<Traits>(storage.v, problem, v, problem.v_stride, first, num_rows);
      } else {
        load_tile<Traits>(storage.k, k + first * problem.k_stride[2], problem.k_stride[2], num_rows);
        load_tile<Traits>(storage.v, v + first * problem.v_stride[2], problem.v_stride[2], num_rows);
      }
      __syncthreads();
      // Only other rows of the block see these keys.
      if ((Traits::kIsCausal || Traits::kIsBanded) && first >= own_end) continue;
      if (Traits::kIsBanded && first + kBlockN <= own_first) continue;
    }
    const int num_keys = min(kBlockN, own_end - first);
    const int hidden_keys = Traits::kIsBanded && Traits::kIsStaged ? own_first - first : 0;  // the first ones, if any

    // Threads over keys: S = q K^T.
    float scores[Traits::kKeysPerThread];
    float step_max = -INFINITY;
#pragma unroll
    for (int i = 0; i < Traits::kKeysPerThread; ++i) {
      const int key = i * Traits::kGroupKeys + group.thread / Traits::kLanesPerKey;
      scores[i] = 0;
      if (key < num_keys) {
        const KvElement *k_row;
        if constexpr (Traits::kIsStaged) {
          k_row = storage.k[key];
        } else {
          k_row = k + row_offset<Traits>(problem, problem.k_stride, bidb, first + key);
        }
        scores[i] = dot<Traits>(storage.q[group.index], k_row, coord.lane);
      }
      scores[i] = warp_reduce_sum<Traits::kLanesPerKey>(scores[i]);
      if (key >= num_keys || key < hidden_keys) {
        scores[i] = -INFINITY;
      } else if constexpr (kHasScoreTerms<Traits>) {
        scores[i] = terms.score(scores[i], first + key) * log2_scale<Traits>();
      }
      step_max = fmaxf(step_max, scores[i]);
    }

    // P. Exponents are measured from the maximum, or from 0 while all scores are -inf: (-inf) - (-inf) is no number.
    const float new_max = fmaxf(row_max, group.reduce_max(step_max));
    const float offset = new_max == -INFINITY ? 0.0f : new_max;
    const float scores_scale = exponential<Traits>(row_max - offset);
    row_max = new_max;
    if constexpr (!Traits::kIsRowOfBlock) group.sync();  // P of the step before has been read; reduce_max syncs a block
    row_sum *= scores_scale;
#pragma unroll
    for (int i = 0; i < Traits::kKeysPerThread; ++i) {
      const float p = exponential<Traits>(scores[i] - offset);
      if (coord.lane == 0) {
        row_sum += p;
        storage.p[group.index][i * Traits::kGroupKeys + group.thread / Traits::kLanesPerKey] = p;
      }
    }
    group.sync();

    // Threads over columns: O = scores_scale * O + P V, each over its slice of the keys.
#pragma unroll
    for (int n = 0; n < Traits::kVectorsPerThread; ++n) {
      const int vector = coord.vector + n * Traits::kGroupThreads;
      if (coord.key_slice >= Traits::kKeySlices || vector >= Traits::kValueVectors) continue;
#pragma unroll
      for (int i = 0; i < kVector; ++i) acc_o[n][i] *= scores_scale;
      // One run, or as many as the keys make.
      for (int run = 0; run < (Traits::kSumsInRuns ? num_keys : 1); run += Traits::kRunKeys) {
        const int run_end = Traits::kSumsInRuns ? min(run + Traits::kRunKeys, num_keys) : num_keys;
        float earlier[kVector];
        if constexpr (Traits::kSumsInRuns) {
#pragma unroll
          for (int i = 0; i < kVector; ++i) {
            earlier[i] = acc_o[n][i];
            acc_o[n][i] = 0;
          }
        }
#pragma unroll(Traits::kUnroll)
        for (int key = run + coord.key_slice; key < run_end; key += Traits::kKeySlices) {
          const float p = storage.p[group.index][key];
          const KvElement *v_row;
          if constexpr (Traits::kIsStaged) {
            v_row = storage.v[key];
          } else {
            v_row = v + row_offset<Traits>(problem, problem.v_stride, bidb, first + key);
          }
          const Elements<KvElement, kVector> elements = load<kVector>(v_row + vector * kVector);
#pragma unroll
          for (int i = 0; i < kVector; ++i) acc_o[n][i] = fmaf(p, to_float(elements.at[i]), acc_o[n][i]);
        }
        if constexpr (Traits::kSumsInRuns) {
#pragma unroll
          for (int i = 0; i < kVector; ++i) acc_o[n][i] += earlier[i];
        }
      }
    }
  }

  // Epilogue: the sum over the slices of the keys, divided by the row's sum.
#pragma unroll
  for (int n = 0; n < Traits::kVectorsPerThread; ++n) {
    const int vector = coord.vector + n * Traits::kGroupThreads;
    if (coord.key_slice >= Traits::kKeySlices || vector >= Traits::kValueVectors) continue;
#pragma unroll
    for (int i = 0; i < kVector; ++i)
      storage.partial_o[group.index][coord.key_slice][vector * kVector + i] = acc_o[n][i];
  }
  const float total = group.reduce_sum(row_sum);
  float inverse = output_scale<Traits>(problem, bidh, row_max, total);
  if constexpr (Traits::kIsQuantized) inverse *= problem.v_scales[kv_head];
  group.sync();
  if (Traits::kIsStaged && !is_valid) return;
  if constexpr (Traits::kStoresLse) {
    if (group.thread == 0) *lse_of(problem).from(bidb, bidh, row) = log_sum_exp<Traits>(problem, bidh, row_max, total);
  }
  for (int vector = group.thread; vector < Traits::kValueVectors; vector += Traits::kGroupThreads) {
    float result[kVector] = {};
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      for (int slice = 0; slice < Traits::kKeySlices; ++slice)
        result[i] += storage.partial_o[group.index][slice][vector * kVector + i];
      result[i] *= inverse;
    }
    store(out + vector * kVector, result);
  }
}

}  // namespace evoflash::scalar
#endif
