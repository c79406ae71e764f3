#pragma once

// A row: x + residual, which is stored and kept, then its normalisation.
#include "cpu_loops.h"
#include "cpu_rms_norm/quantize.h"
#include "cpu_stores.h"

namespace evoflash::cpu_rms_norm {

// Where the second pass over a row finds x + residual.
enum class Keep {
  kBuffer,  // in a buffer of the thread, as floats
  kTotal,   // where the first pass has stored it
  kInputs,  // nowhere: it adds again
};

template <class Element>
struct Row {
  const Element *x, *residual, *weight;
  void *out;
  Element *total;
  float *scale;   // of a quantised row
  float *buffer;  // of kBuffer
  int columns;
  float eps;
};

// The sum of x and residual, rounded as it is stored.
template <class Element>
EVOFLASH_INLINE VectorOf<Element> add(VectorOf<Element> x, VectorOf<Element> residual) {
  return from_floats<Element>(to_floats<Element>(x) + to_floats<Element>(residual));
}

EVOFLASH_INLINE Floats magnitude(Floats floats) { return as_floats(as_bits(floats) & 0x7fffffff); }

// Asks for the lines that the first pass will need so many bytes later.
template <int kLines, class Element>
EVOFLASH_INLINE void prefetch(const Row<Element> &row, int column) {
  if constexpr (kLines > 0) {
    __builtin_prefetch((const char *)(row.x + column) + 64 * kLines);
    __builtin_prefetch((const char *)(row.residual + column) + 64 * kLines);
  }
}

// What the first pass adds up: squares and, for a scale, the largest magnitude of a weighted element.
template <class Config>
struct Moments {
  Floats squares[Config::kUnroll] = {};
  Floats largest[Config::kUnroll] = {};

  EVOFLASH_INLINE_MEMBER void add(int i, Floats total, Floats weight) {
    squares[i] += total * total;
    if constexpr (Config::kQuantize != Quantize::kNone) largest[i] = larger(largest[i], magnitude(total * weight));
  }
  EVOFLASH_INLINE_MEMBER float sum_of_squares() const {
    Floats sum = squares[0];
    for (int i = 1; i < Config::kUnroll; ++i) sum += squares[i];
    return sum_lanes(sum);
  }
  EVOFLASH_INLINE_MEMBER float largest_magnitude() const {
    Floats most = largest[0];
    for (int i = 1; i < Config::kUnroll; ++i) most = larger(most, largest[i]);
    return largest_lane(most);
  }
};

template <class Config, Stores kStores>
EVOFLASH_INLINE Moments<Config> add_row(const Row<typename Config::Element> &row) {
  using Element = typename Config::Element;
  using Vector = VectorOf<Element>;
  constexpr int kStep = Config::kUnroll * kLanes;
  constexpr bool kNeedsWeight = Config::kQuantize != Quantize::kNone;
  Moments<Config> moments;
  const auto weight_at = [&](int at) EVOFLASH_INLINE_LAMBDA {
    return kNeedsWeight ? to_floats<Element>(load<Vector>(row.weight + at)) : Floats{};
  };
  const auto add_vector = [&](int i, int at) EVOFLASH_INLINE_LAMBDA {
    const Vector total = add<Element>(load<Vector>(row.x + at), load<Vector>(row.residual + at));
    const Floats wide = to_floats<Element>(total);
    store_by<kStores>(row.total + at, total);
    if constexpr (Config::kKeep == Keep::kBuffer) store(row.buffer + at, wide);
    moments.add(i, wide, weight_at(at));
  };
  int column = 0;
  for (; column + kStep <= row.columns; column += kStep) {
    constexpr int kLineElements = 64 / sizeof(Element);
    for (int line = 0; line < kStep; line += kLineElements) prefetch<Config::kPrefetch>(row, column + line);
    static_for<Config::kUnroll>([&](auto i) EVOFLASH_INLINE_LAMBDA { add_vector(i, column + i * kLanes); });
  }
  for (; column + kLanes <= row.columns; column += kLanes) add_vector(0, column);
  if (const int rest = row.columns - column; rest > 0) {
    const Vector total =
        add<Element>(load_first<Vector>(row.x + column, rest), load_first<Vector>(row.residual + column, rest));
    const Floats wide = to_floats<Element>(total);
    store_first(row.total + column, total, rest);
    if constexpr (Config::kKeep == Keep::kBuffer) store_first(row.buffer + column, wide, rest);
    moments.add(0, wide, to_floats<Element>(load_first<Vector>(row.weight + column, rest)));
  }
  return moments;
}

// kLanes elements of x + residual, or the first `count` of them.
template <class Config>
EVOFLASH_INLINE Floats kept(const Row<typename Config::Element> &row, int column, int count = kLanes) {
  using Element = typename Config::Element;
  using Vector = VectorOf<Element>;
  const auto read = [&](auto vector, const auto *from) EVOFLASH_INLINE_LAMBDA {
    using Read = decltype(vector);
    return count == kLanes ? load<Read>(from + column) : load_first<Read>(from + column, count);
  };
  if constexpr (Config::kKeep == Keep::kBuffer) return read(Floats{}, row.buffer);
  if constexpr (Config::kKeep == Keep::kTotal) return to_floats<Element>(read(Vector{}, row.total));
  return to_floats<Element>(add<Element>(read(Vector{}, row.x), read(Vector{}, row.residual)));
}

template <class Config, Stores kStores>
EVOFLASH_INLINE void write_row(const Row<typename Config::Element> &row, const Moments<Config> &moments) {
  using Element = typename Config::Element;
  using Vector = VectorOf<Element>;
  const float inverse_rms = 1 / sqrtf(moments.sum_of_squares() / row.columns + row.eps);
  const auto weight = [&](int at, int count) EVOFLASH_INLINE_LAMBDA {
    return to_floats<Element>(count == kLanes ? load<Vector>(row.weight + at)
                                              : load_first<Vector>(row.weight + at, count));
  };
  const auto write = [&](auto output, auto of) EVOFLASH_INLINE_LAMBDA {
    int column = 0;
    for (; column + Config::kUnroll * kLanes <= row.columns; column += Config::kUnroll * kLanes)
      static_for<Config::kUnroll>([&](auto i) EVOFLASH_INLINE_LAMBDA {
        store_by<kStores>(output + column + i * kLanes, of(column + i * kLanes, kLanes));
      });
    for (; column + kLanes <= row.columns; column += kLanes) store_by<kStores>(output + column, of(column, kLanes));
    if (column < row.columns) store_first(output + column, of(column, row.columns - column), row.columns - column);
  };
  if constexpr (Config::kQuantize == Quantize::kNone) {
    write((Element *)row.out, [&](int at, int count) EVOFLASH_INLINE_LAMBDA {
      return from_floats<Element>(kept<Config>(row, at, count) * inverse_rms * weight(at, count));
    });
  } else {
    constexpr float kMost = kLargest<Config::kQuantize>;
    const float largest = moments.largest_magnitude() * inverse_rms;
    const float magnitude = largest < kSmallestMagnitude ? kSmallestMagnitude : largest;  // a NaN stays one
    *row.scale = magnitude / kMost;
    const float factor = inverse_rms * (kMost / magnitude);
    write((uint8_t *)row.out, [&](int at, int count) EVOFLASH_INLINE_LAMBDA {
      return quantize<Config::kQuantize>(kept<Config>(row, at, count) * weight(at, count) * factor);
    });
  }
}

template <class Config>
EVOFLASH_INLINE void normalise_row(const Row<typename Config::Element> &row) {
  using Vector = VectorOf<typename Config::Element>;
  using Output = std::conditional_t<Config::kQuantize == Quantize::kNone, Vector, Bytes>;
  const bool streams_total = Config::kTotalStores == Stores::kStreaming && can_stream<Vector>(row.total);
  const bool streams_out = Config::kOutStores == Stores::kStreaming && can_stream<Output>(row.out);
  const Moments<Config> moments =
      streams_total ? add_row<Config, Config::kTotalStores>(row) : add_row<Config, Stores::kCached>(row);
  if (streams_out)
    write_row<Config, Config::kOutStores>(row, moments);
  else
    write_row<Config, Stores::kCached>(row, moments);
}

}  // namespace evoflash::cpu_rms_norm
