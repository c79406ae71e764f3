#pragma once

// K and V of a head, packed once into the layout that the family's products read, and by whom.
#include "attention_problem.h"
#include "cpu_numeric_types.h"
#include "cpu_vector.h"
#include "score_features.h"

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

// The type of keys and values in memory.
template <class Traits>
using KvElementOf = std::conditional_t<Traits::kIsQuantized, Float8, typename Traits::Element>;

template <class Element>
EVOFLASH_INLINE Element *head_of(Element *base, const int64_t *stride, int64_t bidb, int64_t bidh) {
  return base + bidb * stride[0] + bidh * stride[1];
}

// Units of a head's packed K, and of its K and V.
template <class Traits>
static int64_t packed_k_units(const AttentionProblem &problem) {
  return (int64_t)round_up(problem.seq_kv, Traits::kBlockN) * Traits::kKeyUnits;
}

template <class Traits>
static int64_t packed_kv_units(const AttentionProblem &problem) {
  const int64_t keys = round_up(problem.seq_kv, Traits::kBlockN);
  return packed_k_units<Traits>(problem) + keys / Traits::kVnni * Traits::kValueUnits;
}

// How many heads are packed at a time.
template <class Traits>
static int64_t packed_heads(const AttentionProblem &problem) {
  if constexpr (Traits::kPacking == Packing::kTile) return 0;
  if constexpr (Traits::kPacking == Packing::kHead) return Traits::kThreads;
  return (int64_t)problem.batch * problem.kv_heads;
}

// Where the rows of a tile of keys or values lie: a stride from each other.
template <class Element>
struct DenseRows {
  const Element *first;
  int64_t stride;

  EVOFLASH_INLINE_MEMBER const Element *at(int row) const { return first + row * stride; }
  EVOFLASH_INLINE_MEMBER DenseRows from(int row) const { return {at(row), stride}; }
};

// Or in pages, whose numbers `pages` lists. Beyond the last key of the sequence there are no pages.
template <class Element, int kPageSize>
struct PagedRows {
  const Element *head;  // in page 0
  int64_t page_stride, stride;
  const int32_t *pages;
  int first, last;  // keys

  EVOFLASH_INLINE_MEMBER const Element *at(int row) const {
    const int key = first + row < last ? first + row : last;
    return head + pages[key / kPageSize] * page_stride + key % kPageSize * stride;
  }
  EVOFLASH_INLINE_MEMBER PagedRows from(int row) const { return {head, page_stride, stride, pages, first + row, last}; }
};

// The rows of k or v of a head, from a key on.
template <class Traits>
EVOFLASH_INLINE auto kv_rows(const AttentionProblem &problem, const void *tensor, const int64_t *stride, int bidb,
                             int kv_head, int key) {
  using Element = KvElementOf<Traits>;
  if constexpr (Traits::kPageSize > 0) {
    const Element *head = (const Element *)tensor + kv_head * stride[1];
    const int32_t *pages = problem.block_table + bidb * problem.table_stride;
    return PagedRows<Element, Traits::kPageSize>{head, stride[0], stride[2], pages, key, problem.seq_kv - 1};
  } else {
    return DenseRows<Element>{head_of((const Element *)tensor, stride, bidb, kv_head) + key * stride[2], stride[2]};
  }
}

// Packs a tile of K and V of a head. `problem` is that of the sequence.
template <class Traits>
EVOFLASH_INLINE void pack_keys(const AttentionProblem &problem, PackedKv<Traits> tile, int bidb, int kv_head, int key,
                               int count) {
  pack_tile(tile, kv_rows<Traits>(problem, problem.k, problem.k_stride, bidb, kv_head, key),
            kv_rows<Traits>(problem, problem.v, problem.v_stride, bidb, kv_head, key), count);
}

// Packs a tile of K and V of a head into its place in the packed head, if the sequence has such keys.
template <class Traits>
static void pack_head_tile(const AttentionProblem &all, PackedKv<Traits> packed, int bidb, int kv_head, int key) {
  const AttentionProblem &problem = sequence_of<Traits>(all, bidb);
  if ((Traits::kHasLengths || Traits::kIsPacked) && key >= problem.seq_kv) return;
  const int count = problem.seq_kv - key < Traits::kBlockN ? problem.seq_kv - key : Traits::kBlockN;
  pack_keys(problem, packed.from(key), bidb, kv_head, key, count);
}

}  // namespace evoflash
