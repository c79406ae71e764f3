#pragma once

namespace evoflash::wmma {

// Which threads load a step together: all of the block, or the warps of a slice of the keys, each slice its own part.
enum class LoadedBy { kBlock, kSlice };

// When a stage is loaded again. All but kSplit wait for K and V of a step together.
enum class Pipeline {
  kEarly,  // when the next step begins: one barrier a step
  kLate,   // as soon as it has been read: two barriers a step, and one more step in flight
  kSplit,  // K and V are waited for and loaded again apart: two barriers a step, and S does not wait for V
};

// Where the softmax is computed: in the registers of accumulators, or on rows in shared memory.
enum class SoftmaxIn { kFragments, kShared };

// How P reaches the fragments of P V.
enum class ProbabilitiesIn {
  kRegisters,  // as accumulators become operands
  kApart,      // through shared memory
  kInPlace,    // through shared memory, in the place of S
};

// How probabilities are computed: by exp2f, or by one instruction.
enum class Exponential { kExact, kApprox };

// What follows from the constants that a kernel is rendered with.
template <class Config>
struct KernelTraits : Config {
  // The warps of a block stand in a grid: kWarpsM share its rows, kWarpsN its keys, a slice each.
  static constexpr int kNumWarps = Config::kWarpsM * Config::kWarpsN;
  static constexpr int kNumThreads = 32 * kNumWarps;
  static constexpr int kWarpM = Config::kBlockM / Config::kWarpsM;  // rows of a warp
  static constexpr int kBlockN = Config::kWarpN * Config::kWarpsN;  // keys of a step, of all slices

  // Fragments of a warp, over its rows, its keys and the head dimension.
  static constexpr int kTilesM = kWarpM / 16;
  static constexpr int kTilesN = Config::kWarpN / 16;
  static constexpr int kTilesHead = Config::kHeadDim / 16;

  static constexpr bool kIsSoftmaxInFragments = Config::kSoftmaxIn == SoftmaxIn::kFragments;
  static constexpr bool kIsPInRegs = Config::kProbabilitiesIn == ProbabilitiesIn::kRegisters;

  // A team: the threads that load together, and so wait for one another.
  static constexpr bool kIsTeamBlock = Config::kLoadedBy == LoadedBy::kBlock;
  static constexpr int kTeamThreads = kIsTeamBlock ? kNumThreads : 32 * Config::kWarpsM;
  static constexpr int kTeamKeys = kIsTeamBlock ? kBlockN : Config::kWarpN;

  // Groups of asynchronous copies of K and V that are issued before the first step.
  static constexpr int kPrologueGroups = Config::kPipeline == Pipeline::kSplit   ? 2 * Config::kStages
                                         : Config::kPipeline == Pipeline::kEarly ? Config::kStages - 1
                                                                                 : Config::kStages;

  // Distances between rows in shared memory, in elements of what lies there.
  static constexpr int kPitch = Config::kHeadDim + Config::kPadding;     // of Q, K and V
  static constexpr int kPitchS = Config::kWarpN + Config::kPadding / 2;  // floats
  static constexpr int kPitchP = Config::kProbabilitiesIn == ProbabilitiesIn::kInPlace
                                     ? 2 * kPitchS  // a row of P takes the first half of its row of S
                                     : Config::kWarpN + Config::kPadding;
  static constexpr int kPitchPartial = Config::kHeadDim + 8;  // floats: four rows of a fragment fill the 32 banks once
};

}  // namespace evoflash::wmma
