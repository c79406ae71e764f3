#pragma once

#include "numeric_types.cuh"

// Emulated.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

template <class Element>
inline unsigned pack(float low, float high) {
  return unsigned(from_float<Element>(low)) | unsigned(from_float<Element>(high)) << 16;
}

template <class Element>
inline float low_to_float(unsigned word) {
  return to_float(static_cast<Element>(word));
}
template <class Element>
inline float high_to_float(unsigned word) {
  return to_float(static_cast<Element>(word >> 16));
}

template <class Element>
inline void store_8(void *target, const float (&values)[8]) {
  for (int i = 0; i < 8; ++i) static_cast<Element *>(target)[i] = from_float<Element>(values[i]);
}

}  // namespace evoflash
#endif
