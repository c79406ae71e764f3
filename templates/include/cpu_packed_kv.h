#pragma once

// K and V of a head, packed once into the layout that the family's products read, and by whom.
#include "attention.h"
#include "cpu_vector.h"

namespace evoflash {

constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
constexpr int round_up(int a, int b) { return ceil_div(a, b) * b; }

// When K and V are packed: those of all heads before a barrier; by each thread for the head that it is at; or by each
// tile of query rows again.
enum class Packing { kAllFirst, kHead, kTile };

// K and V of one head, or of one tile of its keys. A key takes kKeyUnits, kVnni neighbouring values take kValueUnits.
template <class Traits>
struct PackedKv {
  typename Traits::Unit *k, *v;

  // Those from a key on that is the first of a tile.
  PackedKv from(int key) const {
    return {k + (int64_t)key * Traits::kKeyUnits, v + (int64_t)key / Traits::kVnni * Traits::kValueUnits};
  }
};

template <class Element>
EVOFLASH_INLINE Element *head_of(Element *base, const int64_t *stride, int64_t bidb, int64_t bidh) {
  return base + bidb * stride[0] + bidh * stride[1];
}

// Units of a head's packed K, and of its K and V.
template <class Traits>
static int64_t packed_k_units(const EvoflashAttention &problem) {
  return (int64_t)round_up(problem.seq_kv, Traits::kBlockN) * Traits::kKeyUnits;
}

template <class Traits>
static int64_t packed_kv_units(const EvoflashAttention &problem) {
  const int64_t keys = round_up(problem.seq_kv, Traits::kBlockN);
  return packed_k_units<Traits>(problem) + keys / Traits::kVnni * Traits::kValueUnits;
}

// How many heads are packed at a time.
template <class Traits>
static int64_t packed_heads(const EvoflashAttention &problem) {
  if constexpr (Traits::kPacking == Packing::kTile) return 0;
  if constexpr (Traits::kPacking == Packing::kHead) return Traits::kThreads;
  return (int64_t)problem.batch * problem.kv_heads;
}

// Packs a tile of K and V of a head into its place in the packed head.
template <class Traits>
static void pack_head_tile(const EvoflashAttention &problem, PackedKv<Traits> packed, int bidb, int kv_head, int key) {
  using Element = typename Traits::Element;
  const int count = problem.seq_kv - key < Traits::kBlockN ? problem.seq_kv - key : Traits::kBlockN;
  const PackedKv<Traits> tile = packed.from(key);
  const Element *k = head_of((const Element *)problem.k, problem.k_stride, bidb, kv_head) + key * problem.k_stride[2];
  const Element *v = head_of((const Element *)problem.v, problem.v_stride, bidb, kv_head) + key * problem.v_stride[2];
  pack_tile(tile, k, problem.k_stride[2], v, problem.v_stride[2], count);
}

}  // namespace evoflash
