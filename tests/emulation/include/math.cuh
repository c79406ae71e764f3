#pragma once

#include "log2e.h"

// Emulated.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

inline float exp2_approx(float x) { return exp2f(x); }
inline float exp2_polynomial(float x) { return exp2f(x); }
inline float reciprocal(float x) { return 1.0f / x; }
inline float max_nan(float x, float y) { return x != x || y != y ? NAN : x > y ? x : y; }
inline float min_nan(float x, float y) { return x != x || y != y ? NAN : x < y ? x : y; }

}  // namespace evoflash
#endif
