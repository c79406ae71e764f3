#pragma once

// The whole problem: what is refused, the workspace, and which thread computes which tiles.
//
// A family's Traits name its Scratch and its ThreadState, which a thread holds while it computes, and tell by
// is_available() whether the process may run it at all.
#include <omp.h>

#include "attention_problem.h"
#include "cpu_packed_kv.h"
#include "cpu_query_tile.h"

namespace evoflash {

enum class Schedule { kStatic, kDynamic };          // of OpenMP
enum class TileOrder { kHeadByHead, kTileByTile };  // the tiles of a head first, or the same tile of all heads

struct TileCoord {
  int bidb, bidh, m_block;
};

// The i-th tile of query rows. With a causal mask the last tiles of a head have the most keys.
template <class Traits>
EVOFLASH_INLINE TileCoord tile_coord(const AttentionProblem &problem, int64_t i, int m_blocks) {
  const auto m_block_at = [=](int64_t place) { return Traits::kIsLongestFirst ? m_blocks - 1 - place : place; };
  if constexpr (Traits::kTileOrder == TileOrder::kHeadByHead) {
    const int head = i / m_blocks, m_block = m_block_at(i % m_blocks);
    return {head / problem.heads, head % problem.heads, m_block};
  } else {
    const int heads = problem.batch * problem.heads, head = i % heads, m_block = m_block_at(i / heads);
    return {head / problem.heads, head % problem.heads, m_block};
  }
}

// The head of packed K and V that a tile sees; `group` query heads share one.
EVOFLASH_INLINE int packed_head_of(const AttentionProblem &problem, const TileCoord &tile, int group) {
  return tile.bidb * problem.kv_heads + tile.bidh / group;
}

template <class Traits>
static size_t workspace_bytes(const AttentionProblem &problem) {
  const size_t scratch_bytes = 64 + Traits::kThreads * sizeof(typename Traits::Scratch);
  if constexpr (Traits::kPacking == Packing::kTile) return scratch_bytes;
  return scratch_bytes +
         packed_heads<Traits>(problem) * packed_kv_units<Traits>(problem) * sizeof(typename Traits::Unit);
}

template <class Traits>
EVOFLASH_INLINE int launch(const AttentionProblem &problem) {
  using Scratch = typename Traits::Scratch;
  using Unit = typename Traits::Unit;
  if (!matches<Traits>(problem, Traits::kHeadDim, Traits::kValueDim) || !Traits::is_available())
    return EVOFLASH_UNSUPPORTED;
  Scratch *scratch = (Scratch *)(((uintptr_t)problem.workspace + 63) & ~(uintptr_t)63);
  Unit *storage = (Unit *)(scratch + Traits::kThreads);
  const auto packed_head = [&](int64_t head) {
    Unit *k = storage + head * packed_kv_units<Traits>(problem);
    return PackedKv<Traits>{k, k + packed_k_units<Traits>(problem)};
  };
  const int m_blocks = ceil_div(problem.seq_q, Traits::kBlockM);

  const int allowed = omp_get_max_threads();  // by OMP_NUM_THREADS, or by whoever has set it since
#pragma omp parallel num_threads(Traits::kThreads < allowed ? Traits::kThreads : allowed)
  {
    [[maybe_unused]] const typename Traits::ThreadState state{};
    Scratch &own = scratch[omp_get_thread_num()];
    if constexpr (Traits::kPacking == Packing::kHead) {
      const int group = problem.heads / problem.kv_heads;
      const PackedKv<Traits> mine = packed_head(omp_get_thread_num());
      if constexpr (Traits::kSchedule == Schedule::kStatic) {
#pragma omp for schedule(static)
        for (int kv = 0; kv < problem.batch * problem.kv_heads; ++kv) {
          const int bidb = kv / problem.kv_heads, kv_head = kv % problem.kv_heads;
          for (int key = 0; key < problem.seq_kv; key += Traits::kBlockN)
            pack_head_tile(problem, mine, bidb, kv_head, key);
          for (int bidh = kv_head * group; bidh < (kv_head + 1) * group; ++bidh)
            for (int m_block = 0; m_block < m_blocks; ++m_block)
              attend_rows(problem, own, bidb, bidh, m_block * Traits::kBlockM, mine);
        }
      } else {
#pragma omp for schedule(dynamic, 1)
        for (int kv = 0; kv < problem.batch * problem.kv_heads; ++kv) {
          const int bidb = kv / problem.kv_heads, kv_head = kv % problem.kv_heads;
          for (int key = 0; key < problem.seq_kv; key += Traits::kBlockN)
            pack_head_tile(problem, mine, bidb, kv_head, key);
          for (int bidh = kv_head * group; bidh < (kv_head + 1) * group; ++bidh)
            for (int m_block = 0; m_block < m_blocks; ++m_block)
              attend_rows(problem, own, bidb, bidh, m_block * Traits::kBlockM, mine);
        }
      }
    } else {
      [[maybe_unused]] const int group = problem.heads / problem.kv_heads;
      if constexpr (Traits::kPacking == Packing::kAllFirst) {
        const int n_blocks = ceil_div(problem.seq_kv, Traits::kBlockN);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < packed_heads<Traits>(problem) * n_blocks; ++i) {
          const int head = i / n_blocks;
          pack_head_tile(problem, packed_head(head), head / problem.kv_heads, head % problem.kv_heads,
                         i % n_blocks * Traits::kBlockN);
        }
      }
      if constexpr (Traits::kSchedule == Schedule::kStatic) {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < (int64_t)problem.batch * problem.heads * m_blocks; ++i) {
          const TileCoord tile = tile_coord<Traits>(problem, i, m_blocks);
          if constexpr (Traits::kPacking == Packing::kTile)
            attend_rows(problem, own, tile.bidb, tile.bidh, tile.m_block * Traits::kBlockM);
          else
            attend_rows(problem, own, tile.bidb, tile.bidh, tile.m_block * Traits::kBlockM,
                        packed_head(packed_head_of(problem, tile, group)));
        }
      } else {
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < (int64_t)problem.batch * problem.heads * m_blocks; ++i) {
          const TileCoord tile = tile_coord<Traits>(problem, i, m_blocks);
          if constexpr (Traits::kPacking == Packing::kTile)
            attend_rows(problem, own, tile.bidb, tile.bidh, tile.m_block * Traits::kBlockM);
          else
            attend_rows(problem, own, tile.bidb, tile.bidh, tile.m_block * Traits::kBlockM,
                        packed_head(packed_head_of(problem, tile, group)));
        }
      }
    }
  }
  return 0;
}

}  // namespace evoflash
