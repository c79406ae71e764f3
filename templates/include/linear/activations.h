#pragma once

namespace evoflash::linear {

enum class Activation {
  kNone,
  kRelu,
  kGelu,  // by erf
  kSilu,
};

}  // namespace evoflash::linear
