/* A kernel that has the features that a test defines, and no others: float32, head size 16, sums in double. */
#include "attention.h"
#include <cmath>

#ifndef BANDED /* the test defines each of these as 0 or 1 */
#define BANDED 0
#define CAUSAL 0
#define MASKED 0
#define BIASED 0
#define CAPPED 0
#define SLOPES 0
#define SINKS 0
#define VALUE_SIZE 16
#define RAGGED 0
#define PAGE_SIZE 0
#define LATENT 0
#endif

static const int kHeadSize = 16;

static int64_t offset(const int64_t *stride, int64_t b, int64_t h, int64_t i, int64_t j) {
  return b * stride[0] + h * stride[1] + i * stride[2] + j * stride[3];
}

/* Of key j of sequence b, in k or v, which have these strides. */
static int64_t place(const EvoflashAttention *p, const int64_t *stride, int b, int j) {
  if (p->page_size == 0) return b * stride[0] + j * stride[2];
  return p->block_table[b * p->table_stride + j / p->page_size] * stride[0] + j % p->page_size * stride[2];
}

extern "C" size_t evoflash_workspace_bytes(const EvoflashAttention *p) { return sizeof(double) * size_t(p->seq_kv); }

extern "C" int evoflash_launch(const EvoflashAttention *p, void *) {
  const bool same = p->head_dim == kHeadSize && p->value_dim == VALUE_SIZE && (p->banded != 0) == BANDED &&
                    (BANDED || (p->causal != 0) == CAUSAL) && (p->mask != nullptr) == MASKED &&
                    (p->bias != nullptr) == BIASED && (p->softcap != 0) == CAPPED && (p->slopes != nullptr) == SLOPES &&
                    (p->sinks != nullptr) == SINKS && (p->lengths != nullptr) == RAGGED && p->page_size == PAGE_SIZE &&
                    (p->block_table != nullptr) == (PAGE_SIZE > 0) && (!LATENT || p->v == p->k);
  if (!same) return EVOFLASH_UNSUPPORTED;
  double *weights = static_cast<double *>(p->workspace);
  for (int b = 0; b < p->batch; b++)
    for (int h = 0; h < p->heads; h++)
      for (int i = 0; i < p->seq_q; i++) {
        const int g = h / (p->heads / p->kv_heads);
        const float *q = static_cast<const float *>(p->q) + b * p->q_stride[0] + h * p->q_stride[1] + i * p->q_stride[2];
        const float *k = static_cast<const float *>(p->k) + g * p->k_stride[1];
        const float *v = static_cast<const float *>(p->v) + g * p->v_stride[1];
        const int keys = RAGGED ? p->lengths[b] : p->seq_kv, diagonal = RAGGED ? keys - p->seq_q : p->diagonal;
        float *out = static_cast<float *>(p->out) + b * p->out_stride[0] + h * p->out_stride[1] + i * p->out_stride[2];
        double largest = -INFINITY, sum = 0;
        for (int j = 0; j < keys; j++) {
          const int64_t distance = int64_t(j) - i - diagonal;
          double score = 0;
          for (int d = 0; d < kHeadSize; d++) score += double(q[d]) * k[place(p, p->k_stride, b, j) + d];
          score *= p->scale;
          if (CAPPED) score = p->softcap * std::tanh(score / p->softcap);
          if (BIASED) score += static_cast<const float *>(p->bias)[offset(p->bias_stride, b, h, i, j)];
          if (SLOPES) score -= p->slopes[h] * std::fabs(double(distance));
          const bool before = BANDED && p->window_left >= 0 && distance < -p->window_left;
          const bool after = BANDED ? p->window_right >= 0 && distance > p->window_right : CAUSAL && j > i;
          if (before || after || (MASKED && !p->mask[offset(p->mask_stride, b, h, i, j)])) score = -INFINITY;
          weights[j] = score;
          largest = std::fmax(largest, score);
        }
        const bool is_blind = std::isinf(largest);
        if (SINKS) largest = std::fmax(largest, p->sinks[h]);
        for (int j = 0; j < keys; j++) sum += weights[j] = is_blind ? 0 : std::exp(weights[j] - largest);
        if (SINKS) sum += std::exp(p->sinks[h] - largest);
        for (int d = 0; d < VALUE_SIZE; d++) {
          double total = 0;
          for (int j = 0; j < keys; j++) total += weights[j] * v[place(p, p->v_stride, b, j) + d];
          out[d] = is_blind ? 0 : float(total / sum);
        }
      }
  return 0;
}
