/* The smallest kernel that keeps the contract: float32, head size 16, no mask. For the tests of the export. Sums are double, since
   its errors are held to SDPA's, which differ with the processor. */
#include "attention.h"
#include <cmath>

static const int kHeadSize = 16;
static const int kDeclinedRows = 7; /* a length that the tests have declined … */
static const int kFailingRows = 13; /* … and one that fails */

extern "C" size_t evoflash_workspace_bytes(const EvoflashAttention *p) { return sizeof(float) * size_t(p->seq_kv); }

extern "C" int evoflash_launch(const EvoflashAttention *p, void *) {
  if (p->head_dim != kHeadSize || p->causal || p->seq_q == kDeclinedRows) return EVOFLASH_UNSUPPORTED;
  if (p->seq_q == kFailingRows) return 42;
  float *weights = static_cast<float *>(p->workspace);
  for (int b = 0; b < p->batch; b++)
    for (int h = 0; h < p->heads; h++) {
      const int g = h / (p->heads / p->kv_heads);
      const float *k = static_cast<const float *>(p->k) + b * p->k_stride[0] + g * p->k_stride[1];
      const float *v = static_cast<const float *>(p->v) + b * p->v_stride[0] + g * p->v_stride[1];
      for (int i = 0; i < p->seq_q; i++) {
        const float *q = static_cast<const float *>(p->q) + b * p->q_stride[0] + h * p->q_stride[1] + i * p->q_stride[2];
        float *out = static_cast<float *>(p->out) + b * p->out_stride[0] + h * p->out_stride[1] + i * p->out_stride[2];
        float largest = -INFINITY;
        double sum = 0;
        for (int j = 0; j < p->seq_kv; j++) {
          double score = 0;
          for (int d = 0; d < kHeadSize; d++) score += double(q[d]) * k[j * p->k_stride[2] + d];
          weights[j] = float(score * p->scale);
          largest = std::fmax(largest, weights[j]);
        }
        for (int j = 0; j < p->seq_kv; j++) sum += weights[j] = std::exp(weights[j] - largest);
        for (int d = 0; d < kHeadSize; d++) {
          double total = 0;
          for (int j = 0; j < p->seq_kv; j++) total += double(weights[j]) * v[j * p->v_stride[2] + d];
          out[d] = float(total / sum);
        }
      }
    }
  return 0;
}
