#pragma once

#include "attention.h"
#include "dtypes.h"
#include "tensor_checks.h"

// An attention problem as kernels compute it: its sizes once, what is read of its tensors, and what is done to scores.
namespace evoflash {

struct AttentionProblem {
  const void *q, *k, *v;
  void *out;
  void *workspace;
  int32_t batch, heads, kv_heads, seq_q, seq_kv, head_dim;  // of packed sequences and of pages the longest's lengths
  // Strides of batch, head and row, in elements; the stride of a row's elements is 1. Of paged keys and values they are
  // those of page, head and row. Packed sequences have a stride of 0 for the batch.
  int64_t q_stride[3], k_stride[3], v_stride[3], out_stride[3];
  float scale;
  int32_t causal;  // 1: row i sees the keys j <= i (top-left), if banded is 0
  // Features, which few kernels have; 0 and null without.
  int32_t value_dim;  // columns of v and out
  int32_t banded;     // 1: row i sees the keys from i + diagonal - window_left to i + diagonal + window_right
  int32_t diagonal, window_left, window_right;  // -1: no limit on that side
  float softcap;
  const void *bias;             // of the type of q
  const unsigned char *mask;    // 1: seen, 0: hidden
  const float *slopes, *sinks;  // of each query head
  // Strides of batch, head, row and key, in elements; 0 where the tensor does not extend over that dimension.
  int64_t bias_stride[4], mask_stride[4];
  const int32_t *lengths;      // keys of each sequence, up to seq_kv; diagonal then is lengths[b] - seq_q
  const int32_t *block_table;  // the pages of each sequence, in rows that are table_stride apart
  int64_t table_stride;
  int32_t page_size, num_pages;
  const float *k_scales, *v_scales;    // of each key-value head, where k and v are float8_e4m3fn
  const int32_t *q_starts, *k_starts;  // of packed sequences, batch + 1
  float *lse;                          // (batch, heads, seq_q)
};

#ifndef EVOFLASH_DEVICE_ONLY  // a launcher is host code
namespace {

// Rows of elements that lie next to each other, in (batch, heads, rows) or another order of these.
inline bool has_rows(const EvoflashTensor &tensor, int dtype) {
  return tensor.dtype == dtype && tensor.rank == 4 && (tensor.stride[3] == 1 || tensor.size[3] == 1);
}

// Whether each of these can be said as int32.
template <class... Values>
bool fit_int(Values... values) {
  return ((values >= INT32_MIN && values <= INT32_MAX) && ...);
}

// Numbers of each sequence or head, where there are any.
inline bool is_list(const EvoflashTensor &tensor, int dtype, int64_t size) {
  return tensor.data == nullptr || is_vector(tensor, dtype, size);
}

// What is broadcast over (batch, heads, rows, keys), where there is anything; its strides are 0 where it is.
inline bool read_broadcast(const EvoflashTensor &tensor, int dtype, const AttentionProblem &problem,
                           int64_t (&stride)[4]) {
  if (tensor.data == nullptr) return true;
  const int64_t whole[] = {problem.batch, problem.heads, problem.seq_q, problem.seq_kv};
  if (tensor.dtype != dtype || tensor.rank != 4) return false;
  for (int i = 0; i < 4; ++i) {
    if (tensor.size[i] != 1 && tensor.size[i] != whole[i]) return false;
    stride[i] = tensor.size[i] == 1 ? 0 : tensor.stride[i];
  }
  return true;
}

// The pages of each sequence, where there are any.
inline bool read_pages(const EvoflashTensor &table, const EvoflashTensor &k, AttentionProblem &problem) {
  if (table.data == nullptr) return true;
  problem.block_table = static_cast<const int32_t *>(table.data);
  problem.table_stride = table.stride[0];
  problem.page_size = int32_t(k.size[1]), problem.num_pages = int32_t(k.size[0]);
  return fit_int(k.size[0], k.size[1]) && table.dtype == EVOFLASH_INT32 && table.rank == 2 &&
         table.size[0] == problem.batch && table.size[1] * k.size[1] >= problem.seq_kv &&
         (table.stride[1] == 1 || table.size[1] == 1);
}

inline bool is_log_sum_exp(const EvoflashTensor &lse, const AttentionProblem &problem) {
  const int64_t size[] = {problem.batch, problem.heads, problem.seq_q};
  const int64_t stride[] = {size[1] * size[2], size[2], 1};
  if (lse.dtype != EVOFLASH_FLOAT32 || lse.rank != 3) return false;
  for (int i = 0; i < 3; ++i)
    if (lse.size[i] != size[i] || (size[i] > 1 && lse.stride[i] != stride[i])) return false;
  return true;
}

inline int32_t clipped(int64_t value) { return int32_t(value < INT32_MAX ? value : INT32_MAX); }

inline void set_strides(int64_t (&stride)[3], const EvoflashTensor &tensor, bool is_packed, bool is_paged) {
  stride[0] = is_packed ? 0 : tensor.stride[0];
  stride[1] = tensor.stride[is_paged ? 2 : 1];
  stride[2] = tensor.stride[is_paged ? 1 : 2];
}

// Reads sizes and strides; whether the tensors are those of one problem, with elements of this dtype.
inline bool read_sizes(const Attention &call, int dtype, AttentionProblem &problem) {
  const EvoflashTensor &q = call.q, &k = call.k, &v = call.v, &out = call.out;
  const bool is_packed = call.q_starts.data != nullptr, is_paged = call.block_table.data != nullptr;
  const int kv_dtype = call.k_scales.data != nullptr ? int(EVOFLASH_FLOAT8_E4M3) : dtype;
  if (!has_rows(q, dtype) || !has_rows(k, kv_dtype) || !has_rows(v, kv_dtype) || !has_rows(out, dtype)) return false;
  for (int i = 0; i < 3; ++i)
    if (q.size[i] != out.size[i] || k.size[i] != v.size[i]) return false;
  if (q.size[3] != k.size[3] || v.size[3] != out.size[3] || (!is_paged && q.size[0] != k.size[0])) return false;
  const int64_t batch = is_packed ? call.q_starts.size[0] - 1 : q.size[0], kv_heads = k.size[is_paged ? 2 : 1];
  const int64_t seq_q = is_packed ? call.max_seqlen_q : q.size[2];
  const int64_t seq_kv = is_packed || is_paged ? call.max_seqlen_k : k.size[2];
  problem.batch = int32_t(batch), problem.heads = int32_t(q.size[1]), problem.kv_heads = int32_t(kv_heads);
  problem.seq_q = int32_t(seq_q), problem.seq_kv = int32_t(seq_kv);
  problem.head_dim = int32_t(q.size[3]), problem.value_dim = int32_t(v.size[3]);
  set_strides(problem.q_stride, q, is_packed, false), set_strides(problem.out_stride, out, is_packed, false);
  set_strides(problem.k_stride, k, is_packed, is_paged), set_strides(problem.v_stride, v, is_packed, is_paged);
  return fit_int(batch, q.size[1], kv_heads, seq_q, seq_kv, q.size[3], v.size[3]);
}

// Reads what else there is, given the sizes; whether it fits them.
inline bool read_others(const Attention &call, int dtype, AttentionProblem &problem) {
  problem.q = call.q.data, problem.k = call.k.data, problem.v = call.v.data, problem.out = call.out.data;
  problem.workspace = call.workspace;
  problem.scale = float(call.scale), problem.softcap = float(call.softcap);
  problem.causal = call.causal != 0, problem.banded = call.banded != 0, problem.diagonal = int32_t(call.diagonal);
  problem.window_left = clipped(call.window_left), problem.window_right = clipped(call.window_right);
  problem.bias = call.bias.data;
  problem.mask = static_cast<const unsigned char *>(call.mask.data);
  problem.slopes = static_cast<const float *>(call.slopes.data);
  problem.sinks = static_cast<const float *>(call.sinks.data);
  problem.lengths = static_cast<const int32_t *>(call.lengths.data);
  problem.k_scales = static_cast<const float *>(call.k_scales.data);
  problem.v_scales = static_cast<const float *>(call.v_scales.data);
  problem.q_starts = static_cast<const int32_t *>(call.q_starts.data);
  problem.k_starts = static_cast<const int32_t *>(call.k_starts.data);
  problem.lse = static_cast<float *>(call.lse.data);
  const int batch = problem.batch, heads = problem.heads, kv_heads = problem.kv_heads;
  return fit_int(call.diagonal) && read_broadcast(call.bias, dtype, problem, problem.bias_stride) &&
         read_broadcast(call.mask, EVOFLASH_BOOL, problem, problem.mask_stride) &&
         read_pages(call.block_table, call.k, problem) && is_list(call.lengths, EVOFLASH_INT32, batch) &&
         is_list(call.slopes, EVOFLASH_FLOAT32, heads) && is_list(call.sinks, EVOFLASH_FLOAT32, heads) &&
         is_list(call.k_scales, EVOFLASH_FLOAT32, kv_heads) && is_list(call.v_scales, EVOFLASH_FLOAT32, kv_heads) &&
         is_list(call.q_starts, EVOFLASH_INT32, int64_t(batch) + 1) &&
         is_list(call.k_starts, EVOFLASH_INT32, int64_t(batch) + 1) &&
         (call.lse.data == nullptr || is_log_sum_exp(call.lse, problem));
}

// The problem of a call of this dtype. All of it is 0, which no kernel takes, where tensors do not fit together, have
// other dtypes than attention.h says, or sizes beyond int32.
inline AttentionProblem problem_of(const Attention &call, int dtype) {
  AttentionProblem problem{};
  if (!read_sizes(call, dtype, problem) || !read_others(call, dtype, problem)) problem = {};
  return problem;
}

// The same for a kernel of these elements.
template <class Traits>
AttentionProblem problem_of(const Attention &call) {
  return problem_of(call, kDtype<typename Traits::Element>);
}

}  // namespace
#endif

}  // namespace evoflash
