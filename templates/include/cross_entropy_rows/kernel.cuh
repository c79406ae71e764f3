#pragma once

#include "cache_hints.cuh"
#include "cp_async.cuh"
#include "cross_entropy_rows/arguments.cuh"
#include "cross_entropy_rows/softmax.cuh"
#include "row_parts.cuh"
#include "static_for.cuh"

// A block, or a cluster of blocks, owns a row. Each thread takes every so many vectors of it: the first kHeld stay in
// its registers, the next kStaged in shared memory, until the row's sum is known. Any further ones it reads again, from
// L2 if no more rows than L2 holds are on their way. So of a row that fits, each logit is read once.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::cross_entropy_rows {

// Where vectors begin in a row whose length is no multiple of theirs: rows then begin anywhere. What lies before the
// first aligned element, and after the last whole vector, are the edges, an element for each of some threads.
template <int kVector>
struct RowShape {
  int head, num_vectors;

  template <class Element>
  __device__ __forceinline__ RowShape(const Element *row, int vocabulary) {
    const int misaligned = int(reinterpret_cast<size_t>(row) / sizeof(Element) % kVector);
    head = min((kVector - misaligned) % kVector, vocabulary);
    num_vectors = (vocabulary - head) / kVector;
  }
  // The column of an edge's element, by its number; `vocabulary` or more if there are fewer.
  __device__ __forceinline__ int edge(int number) const {
    return number < head ? number : number + num_vectors * kVector;
  }
};

template <class Config>
struct Kernel {
  using Element = typename Config::Element;
  static constexpr int kVector = Config::kVector, kThreads = Config::kThreads, kCluster = Config::kCluster;
  static constexpr int kHeld = Config::kHeld, kStaged = Config::kStaged;
  static constexpr int kHeldAtLeast1 = kHeld > 0 ? kHeld : 1;  // an array has elements
  static constexpr int kStep = Config::kStep;
  using Vector = PackedElements<Element, kVector>;
  using Parts = RowParts<1, kThreads, kCluster>;
  using Shape = RowShape<kVector>;

  const Arguments &args;
  const int rank;
  const float inverse_rows;
  Parts parts;
  Vector *const slots;  // of this thread, kThreads apart

  __device__ __forceinline__ Kernel(const Arguments &args, unsigned char *smem)
      : args(args),
        rank(kCluster > 1 ? cluster_rank() : 0),
        inverse_rows(1.0f / args.rows),
        parts{reinterpret_cast<float2 *>(smem), rank},
        slots(reinterpret_cast<Vector *>(smem + Parts::kBytes) + threadIdx.x) {}

  __device__ __forceinline__ const Element *logits_of(int row) const {
    return static_cast<const Element *>(args.logits) + row * args.logits_stride;
  }

  // Whether this thread computes the loss.
  __device__ __forceinline__ bool is_first() const { return rank == 0 && threadIdx.x == 0; }

  // The j-th vector of this thread.
  __device__ __forceinline__ int vector_of(int j) const { return (j * kCluster + rank) * kThreads + int(threadIdx.x); }
  __device__ __forceinline__ bool has(const Shape &shape, int j) const { return vector_of(j) < shape.num_vectors; }
  __device__ __forceinline__ int column_of(const Shape &shape, int j) const {
    return shape.head + vector_of(j) * kVector;
  }
  // The element of an edge that this thread takes; `vocabulary` or more if it takes none.
  __device__ __forceinline__ int edge_of(const Shape &shape) const {
    return rank == 0 && threadIdx.x < 2 * kVector ? shape.edge(threadIdx.x) : args.vocabulary;
  }

  // Copies. A thread reads nothing but what it has copied itself, so it needs no barrier. Each copy is a group.
  __device__ __forceinline__ void copy(const Element *logits, const Shape &shape, int j) const {
    if (has(shape, j)) cp_async(slots + (j - kHeld) * kThreads, logits + column_of(shape, j), true);
    cp_async_commit();
  }
  __device__ __forceinline__ void copy_row(int row) const {
    const Element *const logits = logits_of(row);
    const Shape shape(logits, args.vocabulary);
#pragma unroll
    for (int j = kHeld; j < kHeld + kStaged; ++j) copy(logits, shape, j);
  }

  // Logits of a vector that is not there are -inf.
  __device__ __forceinline__ static void clear(float *logits) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) logits[i] = -INFINITY;
  }
  __device__ __forceinline__ static void unpack_to(float *logits, const Vector &vector) {
    unpack<Element>(reinterpret_cast<float (&)[kVector]>(*logits), vector);
  }

  __device__ __forceinline__ Softmax reduced(Softmax own) {
    own.template reduce<32>();
    if constexpr (Parts::kCount == 1) return own;
    const float2 *const all = parts.exchange({own.max, own.sum});
    Softmax softmax;
#pragma unroll
    for (int i = threadIdx.x % Parts::kLanes; i < Parts::kCount; i += Parts::kLanes) {
      Softmax part;
      part.max = all[i].x;
      part.sum = all[i].y;
      softmax.add(part);
    }
    softmax.template reduce<Parts::kLanes>();
    return softmax;
  }

  // The gradient of a row, once its softmax is known.
  struct Gradient {
    Element *grad;
    float max, factor, log2_factor, inverse_rows;
    int target;

    // The element of a logit. In 16 bits the factor may as well be a term of the exponent; in 32, such an exponent of
    // many digits before the point would have too few behind it.
    __device__ __forceinline__ float of(float logit) const {
      if constexpr (sizeof(Element) == 2) return exp2_approx(fmaf(logit - max, kLog2E, log2_factor));
      return exp_difference(logit - max) * factor;
    }
    __device__ __forceinline__ void write(int column, const Vector &vector) const {
      float values[kVector];
      unpack<Element>(values, vector);
#pragma unroll
      for (int i = 0; i < kVector; ++i) values[i] = of(values[i]);
      if (unsigned(target - column) < unsigned(kVector)) {
#pragma unroll
        for (int i = 0; i < kVector; ++i) values[i] -= column + i == target ? inverse_rows : 0;
      }
      store_packed<Config::kStores>(grad + column, pack_all<Element>(values));
    }
    __device__ __forceinline__ void write_edge(int column, float logit) const {
      grad[column] = from_float<Element>(of(logit) - (column == target ? inverse_rows : 0));
    }
  };

  __device__ __forceinline__ Gradient gradient_of(int row, int target, float target_logit,
                                                  const Softmax &softmax) const {
    // As of PyTorch's logsumexp: beside an infinite logit, no other has a probability.
    const float sum = softmax.max == INFINITY ? 1 : softmax.sum;
    if (is_first()) args.loss[row] = softmax.max - target_logit + logf(sum);
    Gradient gradient;
    gradient.grad = static_cast<Element *>(args.grad) + row * args.grad_stride;
    gradient.max = softmax.max;
    gradient.factor = inverse_rows / sum;
    gradient.log2_factor = log2f(gradient.factor);
    gradient.inverse_rows = inverse_rows;
    gradient.target = target;
    return gradient;
  }

  __device__ __forceinline__ void run() {
    parts.template begin<Config::kIsEarly>();
    const int step = int(gridDim.x) / kCluster, begin = int(blockIdx.x) / kCluster;
    if constexpr (Config::kIsAhead) copy_row(begin);
    for (int row = begin; row < args.rows; row += step) {
      const Element *const logits = logits_of(row);
      const Shape shape(logits, args.vocabulary);
      const int64_t wanted = args.target[row];
      if constexpr (!Config::kIsAhead) copy_row(row);
      Vector held[kHeldAtLeast1];
#pragma unroll
      for (int j = 0; j < kHeld; ++j)
        if (has(shape, j)) held[j] = load_packed<Config::kLoads, sizeof(Vector)>(logits + column_of(shape, j));
      const int edge = edge_of(shape);
      const float edge_logit = edge < args.vocabulary ? to_float(logits[edge]) : -INFINITY;

      const int target = wanted >= 0 && wanted < args.vocabulary ? int(wanted) : -1;
      float target_logit = __uint_as_float(0x7fffffff);  // a target that is no class has no loss
      if (is_first() && target >= 0) target_logit = to_float(logits[target]);

      Softmax own;
      own.add({edge_logit});
#pragma unroll
      for (int first = 0; first < kHeld; first += kStep) {
        float values[kStep * kVector];
#pragma unroll
        for (int j = first; j < first + kStep; ++j) {
          clear(values + (j - first) * kVector);
          if (j < kHeld && has(shape, j)) unpack_to(values + (j - first) * kVector, held[j < kHeld ? j : 0]);
        }
        own.add(values);
      }
      static_for<kStaged>([&](auto i) {
        cp_async_wait<kStaged - 1 - decltype(i)::value>();
        float values[kVector];
        clear(values);
        if (has(shape, kHeld + i.value)) unpack_to(values, slots[i.value * kThreads]);
        own.add(values);
      });
      for (int j = kHeld + kStaged; has(shape, j); j += kStep) {
        Vector again[kStep];
#pragma unroll
        for (int i = 0; i < kStep; ++i)
          if (has(shape, j + i))
            again[i] = load_packed<Caching::kDefault, sizeof(Vector)>(logits + column_of(shape, j + i));
        float values[kStep * kVector];
#pragma unroll
        for (int i = 0; i < kStep; ++i) {
          clear(values + i * kVector);
          if (has(shape, j + i)) unpack_to(values + i * kVector, again[i]);
        }
        own.add(values);
      }

      const Gradient gradient = gradient_of(row, target, target_logit, reduced(own));
#pragma unroll
      for (int j = 0; j < kHeld; ++j)
        if (has(shape, j)) gradient.write(column_of(shape, j), held[j]);
      const int next = row + step;
      const bool has_next = next < args.rows;
      const Element *const next_logits = logits_of(has_next ? next : row);
      const Shape next_shape(next_logits, args.vocabulary);
#pragma unroll 2  // no more: registers would fill with what shared memory keeps
      for (int j = kHeld; j < kHeld + kStaged; ++j) {
        if (has(shape, j)) gradient.write(column_of(shape, j), slots[(j - kHeld) * kThreads]);
        // The next row takes the place of what has just been written.
        if constexpr (Config::kIsAhead)
          if (has_next) copy(next_logits, next_shape, j);
      }
      for (int j = kHeld + kStaged; has(shape, j); j += kStep) {
        Vector again[kStep];
#pragma unroll
        for (int i = 0; i < kStep; ++i)
          if (has(shape, j + i))
            again[i] = load_packed<Config::kLoads, sizeof(Vector)>(logits + column_of(shape, j + i));
#pragma unroll
        for (int i = 0; i < kStep; ++i)
          if (has(shape, j + i)) gradient.write(column_of(shape, j + i), again[i]);
      }
      if (edge < args.vocabulary) gradient.write_edge(edge, edge_logit);
    }
  }
};

template <class Config>
__device__ __forceinline__ void compute_rows(const Arguments &args, unsigned char *smem) {
  Kernel<Config>(args, smem).run();
}

}  // namespace evoflash::cross_entropy_rows
#endif
