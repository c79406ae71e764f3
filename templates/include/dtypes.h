#pragma once

#include "evoflash.h"

// The EvoflashDtype of an element type of kernels.
namespace evoflash {

enum class Half : unsigned short;  // of numeric_types.cuh, or of cpu_numeric_types.h
enum class Bfloat16 : unsigned short;

template <class Element>
constexpr int kDtype = EVOFLASH_FLOAT32;
template <>
constexpr int kDtype<Half> = EVOFLASH_FLOAT16;
template <>
constexpr int kDtype<Bfloat16> = EVOFLASH_BFLOAT16;

}  // namespace evoflash
