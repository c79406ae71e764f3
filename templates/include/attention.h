/* The attention problem's C interface: what a candidate receives and the two functions that it exports. */
#ifndef EVOFLASH_ATTENTION_H
#define EVOFLASH_ATTENTION_H

#ifdef __CUDACC_RTC__ /* NVRTC has no standard headers */
typedef int int32_t;
typedef long long int64_t;
typedef unsigned uint32_t;
typedef unsigned long long uint64_t;
#define INFINITY __int_as_float(0x7f800000)
#else
#include <stddef.h>
#include <stdint.h>
#endif

/* Returned by evoflash_launch for a problem that this kernel was not rendered for; nothing has been written then. */
#define EVOFLASH_UNSUPPORTED (-1)

/* out[b, h, i] = softmax_j(s[b, h, i, j]) v[b, g, j] with g = h / (heads / kv_heads), and the scores
   s = cap(scale * q[b, h, i] . k[b, g, j]) + bias[b, h, i, j] - slopes[h] * |j - i - diagonal|
   where the row sees the key: within the window, and where mask[b, h, i, j] is not 0. cap(x) is softcap * tanh(x /
   softcap), or x for a softcap of 0. A head's sink is one more logit of the softmax, without a value. A row that sees
   no key is 0. */
typedef struct {
  const void *q, *k, *v;
  void *out;
  void *workspace; /* evoflash_workspace_bytes() bytes, contents undefined */
  int32_t batch, heads, kv_heads, seq_q, seq_kv, head_dim;
  /* Strides of batch, head and row, in elements; the stride of a row's elements is 1. */
  int64_t q_stride[3], k_stride[3], v_stride[3], out_stride[3];
  float scale;
  int32_t causal; /* 1: row i sees the keys j <= i (top-left, as SDPA's is_causal), if banded is 0 */
  /* Features, which few kernels have; 0 and NULL without. */
  int32_t value_dim; /* columns of v and out; 0: head_dim. In latent attention v is k, with the same strides */
  int32_t banded;    /* 1: row i sees the keys from i + diagonal - window_left to i + diagonal + window_right */
  int32_t diagonal, window_left, window_right; /* -1: no limit on that side */
  float softcap;
  const void *bias;            /* of the type of q */
  const unsigned char *mask;   /* 1: seen, 0: hidden */
  const float *slopes, *sinks; /* of each query head */
  /* Strides of batch, head, row and key, in elements; 0 where the tensor does not extend over that dimension. */
  int64_t bias_stride[4], mask_stride[4];
  const int32_t *lengths; /* keys of each sequence, up to seq_kv; diagonal then is lengths[b] - seq_q for sequence b */
  /* Paged keys and values: key j of sequence b is row j % page_size of page block_table[b * table_stride + j /
     page_size]. k_stride and v_stride are those of page, head and row. Keys and values beyond a sequence's last key,
     and pages beyond that of its last key, may be anything: NaN, numbers of pages that do not exist. */
  const int32_t *block_table;
  int64_t table_stride;
  int32_t page_size, num_pages;
  /* Of each key-value head, at least 0: k and v are float8_e4m3fn then, and count times these. */
  const float *k_scales, *v_scales;
  /* Packed sequences, one after another: sequence b has the rows q_starts[b] to q_starts[b + 1] - 1 of q and out, up to
     seq_q of them, and the keys k_starts[b] to k_starts[b + 1] - 1, up to seq_kv; either may be none. Rows, keys, bias
     and mask are counted from its first; diagonal then is its keys - its rows. The strides of the batch are 0. */
  const int32_t *q_starts, *k_starts; /* of batch + 1 */
  /* The second output: of each row the natural logarithm of the sum of exp(s), over the keys that it sees, and of
     exp(sink) where there are sinks. Contiguous (batch, heads, seq_q); -inf for a row that has nothing to add up. */
  float *lse;
} EvoflashAttention;

#ifndef EVOFLASH_DEVICE_ONLY
#ifdef __cplusplus
extern "C" {
#endif
size_t evoflash_workspace_bytes(const EvoflashAttention *problem);
/* 0, EVOFLASH_UNSUPPORTED, or the runtime's error code. */
int evoflash_launch(const EvoflashAttention *problem, void *stream);
#ifdef __cplusplus
}
#endif
#endif

#endif  // EVOFLASH_ATTENTION_H
