#pragma once

// A number as a sum of kParts bfloat16 numbers, the larger first (Henry and others, "Leveraging the bfloat16 artificial
// intelligence datatype for higher-precision computations", ARITH 2019).
//
// Infinity is the last part alone, after zeros. Only the first part of another number meets it there (tile_products.h),
// which is 0 for 0 alone, while later ones often are, and 0 * inf is no number.
#include "cpu_numeric_types.h"

namespace evoflash::cpu_amx {

constexpr uint32_t kBfloat16Bits = 0xffff0000;  // of a float32 number

// Each part has the first bits of what the ones before have left, those in `head_bits`; the last one is rounded.
template <int kParts, class HeadBits>
EVOFLASH_INLINE void split(Floats whole, HeadBits head_bits, Halves (&parts)[kParts]) {
#pragma GCC unroll 3
  for (int part = 0; part < kParts - 1; ++part) {
    const Floats head = as_floats(as_bits(whole) & head_bits);
    parts[part] = to_bfloat16(head);
    whole -= head;
  }
  parts[kParts - 1] = to_bfloat16(whole);
}

// The parts of up to kLanes elements, then zeros; never reads beyond them.
template <class Element, int kParts>
EVOFLASH_INLINE void load_parts(const Element *from, int count, Halves (&parts)[kParts]) {
  VectorOf<Element> elements = {};
  if (count >= kLanes)
    memcpy(&elements, from, sizeof elements);
  else if (count > 0)
    memcpy(&elements, from, count * sizeof(Element));
  if constexpr (kParts == 1) {
    parts[0] = elements;
  } else {
    const Floats whole = to_floats<Element>(elements);
    const Bits is_finite = (Bits)((as_bits(whole) & 0x7fffffff) != 0x7f800000);
    split(whole, is_finite & kBfloat16Bits, parts);
  }
}

}  // namespace evoflash::cpu_amx
