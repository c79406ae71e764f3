#pragma once

#include "numeric_types.cuh"

// Emulated.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

template <class Element>
inline unsigned pack(float low, float high) {
  return unsigned(from_float<Element>(low)) | unsigned(from_float<Element>(high)) << 16;
}

}  // namespace evoflash
#endif
