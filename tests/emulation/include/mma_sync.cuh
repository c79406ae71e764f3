#pragma once

#include "numeric_types.cuh"

// Emulated: fragments as in the shipped header.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// Words of the matrices whose rows the lanes name.
template <int kMatrices>
inline void load_matrices(unsigned (&words)[kMatrices], const void *row, bool is_transposed) {
  const auto &rows = emulation::exchange(row);
  const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
  const auto element = [&](int matrix, int r, int column) -> unsigned {
    return emulation::from_lane<const unsigned short *>(rows, 8 * matrix + r)[column];
  };
  for (int i = 0; i < kMatrices; ++i)
    words[i] = is_transposed ? element(i, 2 * c, g) | element(i, 2 * c + 1, g) << 16
                             : element(i, g, 2 * c) | element(i, g, 2 * c + 1) << 16;
}

inline void ldmatrix_x4(unsigned (&words)[4], const void *row) { load_matrices(words, row, false); }
inline void ldmatrix_x4_trans(unsigned (&words)[4], const void *row) { load_matrices(words, row, true); }

inline void ldmatrix_x2(unsigned &word0, unsigned &word1, const void *row) {
  unsigned words[2];
  load_matrices(words, row, false);
  word0 = words[0], word1 = words[1];
}
inline void ldmatrix_x2_trans(unsigned &word0, unsigned &word1, const void *row) {
  unsigned words[2];
  load_matrices(words, row, true);
  word0 = words[0], word1 = words[1];
}

inline void stmatrix_x4(void *row, unsigned word0, unsigned word1, unsigned word2, unsigned word3) {
  const auto &rows = emulation::exchange(row);
  const unsigned words[4] = {word0, word1, word2, word3};
  const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
  for (int i = 0; i < 4; ++i)
    memcpy(emulation::from_lane<unsigned char *>(rows, 8 * i + g) + 4 * c, &words[i], sizeof(words[i]));
}

inline unsigned transpose_8x8(unsigned word) {
  const auto &words = emulation::exchange(word);
  const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
  unsigned halves[2];
  for (int j = 0; j < 2; ++j)
    halves[j] = emulation::from_lane<unsigned>(words, 4 * (2 * c + j) + g / 2) >> g % 2 * 16 & 0xffff;
  return halves[0] | halves[1] << 16;
}

// The element of a fragment's word.
template <class Element>
inline float element_of(unsigned word, int half) {
  return to_float(static_cast<Element>(word >> half * 16));
}

template <class Element>
inline void mma_m16n8k16(float (&acc)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  struct Operands {
    unsigned a[4], b[2];
  } const own{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  const auto &given = emulation::exchange(own);
  const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
  for (int i = 0; i < 4; ++i)
    for (int k = 0; k < 16; ++k) {
      const auto of_a = emulation::from_lane<Operands>(given, 4 * g + k % 8 / 2);
      const auto of_b = emulation::from_lane<Operands>(given, 4 * (2 * c + i % 2) + k % 8 / 2);
      acc[i] += element_of<Element>(of_a.a[i / 2 + k / 8 * 2], k % 2) * element_of<Element>(of_b.b[k / 8], k % 2);
    }
}

template <class Element>
inline void mma_m16n8k8(float (&acc)[4], unsigned a0, unsigned a1, unsigned b) {
  mma_m16n8k16<Element>(acc, {a0, a1, 0, 0}, b, 0);
}

}  // namespace evoflash
#endif
