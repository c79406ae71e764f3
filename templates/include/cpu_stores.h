#pragma once

// Stores that go past the caches, and vectors that are not full.
#include "cpu_numeric_types.h"

namespace evoflash {

// What is stored and not read again soon need not displace what is in the caches, and its lines need not be read first.
enum class Stores { kCached, kStreaming };

// The bytes that an address of a streaming store is a multiple of.
template <class Vector>
constexpr int kStreamAlignment = sizeof(Vector) < 16 ? 1 : sizeof(Vector);

// Stores a vector past the caches, where the processor can. A fence_streams() has to follow in the same thread.
template <class Vector, class To>
EVOFLASH_INLINE void stream(To *to, Vector vector) {
#if defined(__AVX512F__)
  if constexpr (sizeof(Vector) == 64) return _mm512_stream_si512((__m512i *)to, (__m512i)vector);
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(Vector) == 32) return _mm256_stream_si256((__m256i *)to, (__m256i)vector);
#endif
#if defined(__SSE2__)
  if constexpr (sizeof(Vector) == 16) return _mm_stream_si128((__m128i *)to, (__m128i)vector);
#endif
  store(to, vector);
}

// Other threads see what this one has streamed only after this.
EVOFLASH_INLINE void fence_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

template <Stores kStores, class Vector, class To>
EVOFLASH_INLINE void store_by(To *to, Vector vector) {
  if constexpr (kStores == Stores::kStreaming)
    stream(to, vector);
  else
    store(to, vector);
}

// A row is streamed only if it begins where streaming stores may.
template <class Vector>
EVOFLASH_INLINE bool can_stream(const void *row) {
  return (uintptr_t)row % kStreamAlignment<Vector> == 0;
}

// The first `count` elements of a vector; the others are zeros, and are neither read nor written.
template <class Vector, class Element>
EVOFLASH_INLINE Vector load_first(const Element *from, int count) {
  Vector vector{};
  memcpy(&vector, from, count * sizeof(Element));
  return vector;
}
template <class Vector, class Element>
EVOFLASH_INLINE void store_first(Element *to, Vector vector, int count) {
  memcpy(to, &vector, count * sizeof(Element));
}

}  // namespace evoflash
