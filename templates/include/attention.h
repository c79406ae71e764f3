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

/* out[b, h, i] = softmax_j(scale * q[b, h, i] . k[b, g, j]) v[b, g, j] with g = h / (heads / kv_heads). */
typedef struct {
  const void *q, *k, *v;
  void *out;
  void *workspace; /* evoflash_workspace_bytes() bytes, contents undefined */
  int32_t batch, heads, kv_heads, seq_q, seq_kv, head_dim;
  /* Strides of batch, head and row, in elements; the stride of a row's elements is 1. */
  int64_t q_stride[3], k_stride[3], v_stride[3], out_stride[3];
  float scale;
  int32_t causal; /* 1: row i sees the keys j <= i (top-left, as SDPA's is_causal) */
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
