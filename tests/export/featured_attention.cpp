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

static int64_t offset(const EvoflashTensor &t, int64_t b, int64_t h, int64_t i, int64_t j) {
  const int64_t at[] = {b, h, i, j};
  int64_t sum = 0;
  for (int axis = 0; axis < 4; axis++) sum += t.size[axis] == 1 ? 0 : at[axis] * t.stride[axis];
  return sum;
}

/* Of key j of sequence b in head g of k or v; of cached ones, of a page of the table. */
static const float *row(const Attention *p, const EvoflashTensor &t, int b, int g, int j) {
  const float *const first = static_cast<const float *>(t.data);
  if (PAGE_SIZE == 0) return first + b * t.stride[0] + g * t.stride[1] + j * t.stride[2];
  const EvoflashTensor &table = p->block_table;
  const int page = static_cast<const int32_t *>(table.data)[b * table.stride[0] + j / t.size[1]];
  return first + page * t.stride[0] + j % t.size[1] * t.stride[1] + g * t.stride[2];
}

static float of_head(const EvoflashTensor &t, int h) { return static_cast<const float *>(t.data)[h]; }

static int64_t longest(const Attention *p) { return PAGE_SIZE ? p->max_seqlen_k : p->k.size[2]; }

extern "C" size_t evoflash_workspace_bytes(const Attention *p) { return sizeof(double) * size_t(longest(p)); }

extern "C" int evoflash_launch(const Attention *p, void *) {
  const EvoflashTensor &q = p->q, &k = p->k, &v = p->v, &out = p->out;
  const int kv_heads = k.size[PAGE_SIZE ? 2 : 1], rows = q.size[2];
  const bool same = q.size[3] == kHeadSize && v.size[3] == VALUE_SIZE && (p->banded != 0) == BANDED &&
                    (BANDED || (p->causal != 0) == CAUSAL) && (p->mask.data != nullptr) == MASKED &&
                    (p->bias.data != nullptr) == BIASED && (p->softcap != 0) == CAPPED &&
                    (p->slopes.data != nullptr) == SLOPES && (p->sinks.data != nullptr) == SINKS &&
                    (p->lengths.data != nullptr) == RAGGED && (p->block_table.data != nullptr) == (PAGE_SIZE > 0) &&
                    (PAGE_SIZE == 0 || k.size[1] == PAGE_SIZE) && (!LATENT || v.data == k.data);
  if (!same) return EVOFLASH_UNSUPPORTED;
  double *weights = static_cast<double *>(p->workspace);
  for (int b = 0; b < q.size[0]; b++)
    for (int h = 0; h < q.size[1]; h++)
      for (int i = 0; i < rows; i++) {
        const int g = h / (q.size[1] / kv_heads);
        const float *own = static_cast<const float *>(q.data) + offset(q, b, h, i, 0);
        const int keys = RAGGED ? static_cast<const int32_t *>(p->lengths.data)[b] : longest(p);
        const int64_t diagonal = RAGGED ? keys - rows : p->diagonal;
        float *to = static_cast<float *>(out.data) + offset(out, b, h, i, 0);
        double largest = -INFINITY, sum = 0;
        for (int j = 0; j < keys; j++) {
          const int64_t distance = j - i - diagonal;
          double score = 0;
          for (int d = 0; d < kHeadSize; d++) score += double(own[d]) * row(p, k, b, g, j)[d];
          score *= p->scale;
          if (CAPPED) score = p->softcap * std::tanh(score / p->softcap);
          if (BIASED) score += static_cast<const float *>(p->bias.data)[offset(p->bias, b, h, i, j)];
          if (SLOPES) score -= of_head(p->slopes, h) * std::fabs(double(distance));
          const bool before = BANDED && p->window_left >= 0 && distance < -p->window_left;
          const bool after = BANDED ? p->window_right >= 0 && distance > p->window_right : CAUSAL && j > i;
          const bool hidden = MASKED && !static_cast<const bool *>(p->mask.data)[offset(p->mask, b, h, i, j)];
          if (before || after || hidden) score = -INFINITY;
          weights[j] = score;
          largest = std::fmax(largest, score);
        }
        const bool is_blind = std::isinf(largest);
        if (SINKS) largest = std::fmax(largest, of_head(p->sinks, h));
        for (int j = 0; j < keys; j++) sum += weights[j] = is_blind ? 0 : std::exp(weights[j] - largest);
        if (SINKS) sum += std::exp(of_head(p->sinks, h) - largest);
        for (int d = 0; d < VALUE_SIZE; d++) {
          double total = 0;
          for (int j = 0; j < keys; j++) total += weights[j] * row(p, v, b, g, j)[d];
          to[d] = is_blind ? 0 : float(total / sum);
        }
      }
  return 0;
}
