#pragma once

#include "float8.cuh"

namespace evoflash::scalar {

// Which threads own a query row.
enum class RowOwner { kBlock, kWarp };

// How probabilities are computed: by expf, or by one instruction for 2^x, with log2(e) in the softmax scale.
enum class Exponential { kExact, kApprox };

// The type of keys and values.
template <class Element, bool kIsQuantized>
struct KvElementOf {
  using Type = Element;
};
template <class Element>
struct KvElementOf<Element, true> {
  using Type = Float8;
};

// What follows from the constants that a kernel is rendered with.
template <class Config>
struct KernelTraits : Config {
  using KvElement = typename KvElementOf<typename Config::Element, Config::kIsQuantized>::Type;

  static constexpr bool kIsRowOfBlock = Config::kRowOwner == RowOwner::kBlock;
  static constexpr int kGroupThreads = kIsRowOfBlock ? Config::kNumThreads : 32;  // that own a row
  static constexpr int kBlockM = Config::kNumThreads / kGroupThreads;             // query rows of a block
  static constexpr int kGroupKeys = kGroupThreads / Config::kLanesPerKey;         // that a group works on at once
  static constexpr int kBlockN = kGroupKeys * Config::kKeysPerThread;             // keys of a step

  static constexpr int kRowVectors = Config::kHeadDim / Config::kVector;  // of a query or key

  // Threads over the columns of the output. Where there are fewer vectors than threads, several threads share the
  // columns of a vector, and each takes a slice of the step's keys.
  static constexpr int kValueVectors = Config::kValueDim / Config::kVector;
  static constexpr int kVectorsPerThread = (kValueVectors + kGroupThreads - 1) / kGroupThreads;
  static constexpr int kKeySlices = kValueVectors < kGroupThreads ? kGroupThreads / kValueVectors : 1;

  // The products of an output are summed in runs of keys, 32 of each slice: longer sums in float32 gather more rounding
  // than SDPA's, which a 16-bit output does not show.
  static constexpr bool kSumsInRuns = sizeof(typename Config::Element) == sizeof(float);
  static constexpr int kRunKeys = 32 * kKeySlices;
};

}  // namespace evoflash::scalar
