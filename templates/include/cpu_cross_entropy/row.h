#pragma once

// A row of logits: its exponentials tile by tile with a running maximum, then the gradient.
//
// The exponentials of a tile are those of the differences to the maximum of all tiles so far. With the last maximum
// they need a factor for each tile only, so that a buffer of them spares computing them twice.
#include <float.h>

#include "cpu_exp2.h"
#include "cpu_loops.h"
#include "cpu_stores.h"
#include "log2e.h"

namespace evoflash::cpu_cross_entropy {

// What the second pass over a row makes the gradient of.
enum class Keep {
  kExponentials,  // of the first pass, in a buffer of the thread
  kLogits,        // which it reads and exponentiates again
};

// The maximum before the first tile, and of tiles that are all -inf. Finite: -inf less it is no NaN.
constexpr float kNoMaximum = -FLT_MAX;

template <class Element>
struct Row {
  const Element *logits;
  Element *grad;
  float *loss;
  float *buffer;  // of kExponentials: a row of them, then the maximum of each tile
  int64_t target;
  int vocabulary;
  float inverse_rows;
};

template <class Config>
EVOFLASH_INLINE Floats exp2(Floats x) {
  return exp2_polynomial<Config::kExpDegree, Config::kExpScaling>(x);
}

// exp(x - max).
template <class Config>
EVOFLASH_INLINE Floats exp_difference(Floats x, float max) {
  return exp2<Config>((x - max) * kLog2E);
}
template <class Config>
EVOFLASH_INLINE float exp_difference(float x, float max) {
  return exp_difference<Config>(all(x), max)[0];
}

// kLanes logits, or the first `count` of them and -inf.
template <class Element>
EVOFLASH_INLINE Floats logits_at(const Element *logits, int count = kLanes) {
  using Vector = VectorOf<Element>;
  if (count == kLanes) return to_floats<Element>(load<Vector>(logits));
  const Floats some = to_floats<Element>(load_first<Vector>(logits, count));
  return as_floats(select(first_lanes(count), as_bits(some), as_bits(all(-INFINITY))));
}

// Runs body(i, column, count) over the vectors of [begin, end), kUnroll of them between two jumps; i is a constant
// below kUnroll, and count is below kLanes for the last vector of a row only.
template <int kUnroll, class Body>
EVOFLASH_INLINE void for_vectors(int begin, int end, const Body &body) {
  int column = begin;
  for (; column + kUnroll * kLanes <= end; column += kUnroll * kLanes)
    static_for<kUnroll>([&](auto i) EVOFLASH_INLINE_LAMBDA { body(i, column + i * kLanes, kLanes); });
  for (; column + kLanes <= end; column += kLanes) body(std::integral_constant<int, 0>(), column, kLanes);
  if (column < end) body(std::integral_constant<int, 0>(), column, end - column);
}

// The maximum of a row, and the sum of exponentials of the differences to it.
struct Softmax {
  float max = kNoMaximum, sum = 0;
};

template <class Config>
EVOFLASH_INLINE void add_tile(const Row<typename Config::Element> &row, int begin, int end, Softmax &softmax) {
  constexpr int kUnroll = Config::kUnroll;
  Floats largest[kUnroll], sums[kUnroll] = {};
  for (Floats &each : largest) each = all(kNoMaximum);
  for_vectors<kUnroll>(begin, end, [&](auto i, int column, int count) EVOFLASH_INLINE_LAMBDA {
    if constexpr (Config::kPrefetch > 0)
      __builtin_prefetch((const char *)(row.logits + column) + 64 * Config::kPrefetch);
    largest[i] = larger(largest[i], logits_at(row.logits + column, count));
  });
  for (int i = 1; i < kUnroll; ++i) largest[0] = larger(largest[0], largest[i]);
  // A NaN may get lost in a maximum, but not in its own exponential, and so not in the sum.
  const float tile_max = largest_lane(largest[0]), max = tile_max > softmax.max ? tile_max : softmax.max;
  for_vectors<kUnroll>(begin, end, [&](auto i, int column, int count) EVOFLASH_INLINE_LAMBDA {
    const Floats exponentials = exp_difference<Config>(logits_at(row.logits + column, count), max);
    if constexpr (Config::kKeep == Keep::kExponentials) {
      if (count == kLanes)
        store(row.buffer + column, exponentials);
      else
        store_first(row.buffer + column, exponentials, count);
    }
    sums[i] += exponentials;
  });
  for (int i = 1; i < kUnroll; ++i) sums[0] += sums[i];
  softmax.sum = softmax.sum * exp_difference<Config>(softmax.max, max) + sum_lanes(sums[0]);
  softmax.max = max;
}

template <class Config, Stores kStores>
EVOFLASH_INLINE void write_tile(const Row<typename Config::Element> &row, int begin, int end, float max, float factor) {
  using Element = typename Config::Element;
  for_vectors<Config::kUnroll>(begin, end, [&](auto, int column, int count) EVOFLASH_INLINE_LAMBDA {
    Floats exponentials;
    if constexpr (Config::kKeep == Keep::kLogits)
      exponentials = exp_difference<Config>(logits_at(row.logits + column, count), max);
    else
      exponentials =
          count == kLanes ? load<Floats>(row.buffer + column) : load_first<Floats>(row.buffer + column, count);
    const auto gradients = from_floats<Element>(exponentials * factor);
    if (count == kLanes)
      store_by<kStores>(row.grad + column, gradients);
    else
      store_first(row.grad + column, gradients, count);
  });
}

EVOFLASH_INLINE int tiles_of(int vocabulary, int tile) { return (vocabulary + tile - 1) / tile; }

template <class Config, Stores kStores>
EVOFLASH_INLINE void compute_row(const Row<typename Config::Element> &row) {
  using Element = typename Config::Element;
  constexpr int kTile = Config::kTile;
  const int vocabulary = row.vocabulary, tiles = tiles_of(vocabulary, kTile);
  [[maybe_unused]] float *const tile_max = row.buffer + vocabulary;
  const auto end_of = [&](int tile)
                          EVOFLASH_INLINE_LAMBDA { return tile + 1 < tiles ? (tile + 1) * kTile : vocabulary; };
  Softmax softmax;
  for (int tile = 0; tile < tiles; ++tile) {
    add_tile<Config>(row, tile * kTile, end_of(tile), softmax);
    if constexpr (Config::kKeep == Keep::kExponentials) tile_max[tile] = softmax.max;
  }

  // As of PyTorch's logsumexp, of which this is the rest: beside an infinite logit, no other has a probability.
  if (softmax.max == INFINITY) softmax.sum = 1;

  const bool is_class = row.target >= 0 && row.target < vocabulary;
  const float logit = is_class ? to_floats<Element>(load_first<VectorOf<Element>>(row.logits + row.target, 1))[0] : NAN;
  *row.loss = softmax.max - logit + logf(softmax.sum);

  const float scale = row.inverse_rows / softmax.sum;
  for (int tile = 0; tile < tiles; ++tile) {
    float factor = scale;
    if constexpr (Config::kKeep == Keep::kExponentials)
      if (tile_max[tile] != softmax.max) factor *= exp_difference<Config>(tile_max[tile], softmax.max);
    write_tile<Config, kStores>(row, tile * kTile, end_of(tile), softmax.max, factor);
  }
  if (is_class) {
    const float probability = exp_difference<Config>(logit, softmax.max) * scale;
    store_first(row.grad + row.target, from_floats<Element>(all(probability - row.inverse_rows)), 1);
  }
}

template <class Config>
EVOFLASH_INLINE void compute_row(const Row<typename Config::Element> &row) {
  if (Config::kGradStores == Stores::kStreaming && can_stream<VectorOf<typename Config::Element>>(row.grad))
    compute_row<Config, Config::kGradStores>(row);
  else
    compute_row<Config, Stores::kCached>(row);
}

}  // namespace evoflash::cpu_cross_entropy
