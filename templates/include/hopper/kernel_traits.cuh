#pragma once

#include "tma.cuh"

namespace evoflash::hopper {

// How tiles come to blocks.
enum class Schedule {
  kTiles,       // a block for each tile
  kPersistent,  // as many blocks as run at once, which take tile after tile by number
  kDynamic,     // the same, which draw the next tile from a counter
};

// The order of the tiles.
enum class TileOrder {
  kHeads,         // head by head
  kLongestFirst,  // by the number of their keys, of as many heads at a time as the L2 cache holds
  kFolded,        // the same, but every other round over the multiprocessors runs backwards
  kShortLast,     // the same, but the shortest quarter of every head's tiles comes after all others
};

// The tiles whose keys are split.
enum class SplitTiles {
  kAll,
  kRest,  // those that are left when every multiprocessor has had the same number of tiles
};

// The tile of a head that has fewer rows than others, if the rows do not fill all tiles.
enum class TileEdge {
  kFilled,  // the last; rows beyond the last one see what that sees, and all warpgroups compute
  kLast,    // the last; warpgroups without rows pass over its steps
  kFirst,   // the first, whose rows see the fewest keys under a causal mask; the same
};

// What the warpgroups of a block, and the blocks of a cluster, share keys and values for.
enum class KvSharing {
  kRows,   // rows of one head
  kHeads,  // the same rows of heads of one group
};

// What follows from the constants that a kernel is rendered with.
template <class Config>
struct KernelTraits : Config {
  static constexpr bool kIsCluster = Config::kCluster > 1;
  static constexpr bool kIsSplitKv = Config::kNumSplits > 1;
  static constexpr bool kSplitsRest = kIsSplitKv && Config::kSplitTiles == SplitTiles::kRest;
  static constexpr bool kIsPersistent = Config::kSchedule != Schedule::kTiles;
  static constexpr bool kIsDynamic = Config::kSchedule == Schedule::kDynamic;
  static constexpr bool kIsSectioned = Config::kOrder != TileOrder::kHeads;
  static constexpr bool kIsShortLast = Config::kOrder == TileOrder::kShortLast;
  static constexpr bool kSharesHeads = Config::kSharing == KvSharing::kHeads;

  static constexpr bool kHasIdleWarpgroups = Config::kEdge != TileEdge::kFilled;

  // The tiles whose Q is in shared memory at a time. With two, Q of a tile is loaded while the one before it is
  // computed, and the output of a tile may leave while the next one is.
  static constexpr int kQStages = Config::kIsTileOverlap ? 2 : Config::kQueryStages;
  static constexpr bool kIsLateRelease = kQStages > 1 && !Config::kIsTileOverlap;

  // Whether a warpgroup loads. If none does, a thread of the only warpgroup that computes loads between the products.
  static constexpr bool kHasProducer = Config::kProducerRegisters > 0;

  // A tile is what a cluster, or a block without one, computes at a time. A warpgroup computes 64 rows of a head.
  static constexpr int kWarpgroupM = 64;
  static constexpr int kTileWarpgroups = Config::kNumWarpgroups * Config::kCluster;
  static constexpr int kTileM = kSharesHeads ? kWarpgroupM : kWarpgroupM * kTileWarpgroups;  // rows of each head
  static constexpr int kTileHeads = kSharesHeads ? kTileWarpgroups : 1;

  static constexpr int kConsumerThreads = 128 * Config::kNumWarpgroups;
  static constexpr int kNumThreads = kConsumerThreads + (kHasProducer ? 128 : 0);

  // The rows of a tile, of all its heads.
  static constexpr int kTileRows = kWarpgroupM * kTileWarpgroups;

  // Fragments of a warpgroup.
  static constexpr int kHeadSteps = (Config::kHeadDim + 15) / 16;  // products over the head dimension, the K of Q K^T
  static constexpr int kKeySteps = Config::kBlockN / 16;           // products over the keys, the K of P V
  static constexpr int kTilesN = Config::kBlockN / 8;              // accumulators over the keys
  static constexpr int kTilesValue = Config::kValueDim / 8;        // accumulators over the columns of V, the N of P V

  // Tiles in shared memory consist of panels (tma.cuh), whose rows are 128 bytes for wgmma. Of a last panel that is not
  // full, Q K^T reads only the steps that have columns, and P V only the columns themselves.
  using Panel = TmaPanel<Config::kHeadDim, 64>;        // of Q and K
  using ValuePanel = TmaPanel<Config::kValueDim, 64>;  // of V and the output
  static constexpr int kQPanelBytes = kWarpgroupM * Panel::kRowBytes;
  static constexpr int kKvPanelBytes = Config::kBlockN * Panel::kRowBytes;

  // Of a warpgroup's Q, whose place the output takes; of K and of V in a stage.
  static constexpr int kQPanels = Panel::kCount > ValuePanel::kCount ? Panel::kCount : ValuePanel::kCount;
  static constexpr int kQBytes = kQPanels * kQPanelBytes;
  static constexpr int kKBytes = Panel::kCount * kKvPanelBytes;
  static constexpr int kVBytes = ValuePanel::kCount * kKvPanelBytes;
};

}  // namespace evoflash::hopper
