#pragma once

#include "numeric_types.cuh"
#include "pairs.cuh"
#include "warp.cuh"

// Stores rows of the output from accumulators: of each tile of 8 columns, the four lanes of a row hold two columns
// each, lane c columns 2c and 2c + 1.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// Bytes of a tile's row in memory.
template <class Element>
constexpr int kRowTileBytes = 8 * int(sizeof(Element));

template <int kTiles>
using TileColumns = float[kTiles][2];

// The last kRest of some tiles.
template <int kRest, int kTiles>
__device__ __forceinline__ const TileColumns<kRest> &last_tiles(const float (&columns)[kTiles][2]) {
  return reinterpret_cast<const TileColumns<kRest> &>(columns[kTiles - kRest]);
}

// Each lane stores its own two columns as floats. The four lanes fill a sector of memory.
template <int kTiles>
__device__ __forceinline__ void store_row_float(unsigned char *row, const float (&columns)[kTiles][2], bool pred,
                                                int num_tiles) {
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
    if (pred && t < num_tiles)
      *reinterpret_cast<float2 *>(row + t * kRowTileBytes<float> + threadIdx.x % 4 * 8) =
          make_float2(columns[t][0], columns[t][1]);
}

// Each lane stores its own two columns, 4 bytes at a time.
template <class Element, int kTiles>
__device__ __forceinline__ void store_row_4(unsigned char *row, const float (&columns)[kTiles][2], bool pred,
                                            int num_tiles) {
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
    if (pred && t < num_tiles)
      *reinterpret_cast<unsigned *>(row + t * kRowTileBytes<Element> + threadIdx.x % 4 * 4) =
          pack<Element>(columns[t][0], columns[t][1]);
}

// Of two tiles, a lane has the words of columns 2c and 8 + 2c. Exchanges with its neighbour leave each lane with four
// consecutive columns, from 4 (c / 2) + 8 (c % 2) on, which it stores together. The four lanes fill a sector of memory.
// An odd tile is stored 4 bytes at a time.
template <class Element, int kTiles>
__device__ __forceinline__ void store_row_8(unsigned char *row, const float (&columns)[kTiles][2], bool pred,
                                            int num_tiles) {
  const bool odd = threadIdx.x % 2;
  const int column = threadIdx.x % 4 / 2 * 4 + threadIdx.x % 2 * 8;
#pragma unroll
  for (int t = 0; t < kTiles / 2 * 2; t += 2) {
    const unsigned left = pack<Element>(columns[t][0], columns[t][1]);
    const unsigned right = pack<Element>(columns[t + 1][0], columns[t + 1][1]);
    const unsigned received = __shfl_xor_sync(kAllLanes, odd ? left : right, 1);
    if (pred && t + odd < num_tiles)
      *reinterpret_cast<uint2 *>(row + t * kRowTileBytes<Element> + 2 * column) =
          odd ? make_uint2(received, right) : make_uint2(left, received);
  }
  if constexpr (kTiles % 2 != 0)
    store_row_4<Element>(row + (kTiles - 1) * kRowTileBytes<Element>, last_tiles<1>(columns), pred,
                         num_tiles - (kTiles - 1));
}

// Of four tiles, a lane has one word each. Exchanges with its neighbour, then between pairs of lanes, leave lane c with
// the whole row of tile c: 16 bytes. Up to three tiles that are left over are stored 8 bytes at a time.
template <class Element, int kTiles>
__device__ __forceinline__ void store_row_16(unsigned char *row, const float (&columns)[kTiles][2], bool pred,
                                             int num_tiles) {
  const bool odd = threadIdx.x % 2, upper = threadIdx.x / 2 % 2;
#pragma unroll
  for (int t = 0; t < kTiles / 4 * 4; t += 4) {
    unsigned word[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) word[i] = pack<Element>(columns[t + i][0], columns[t + i][1]);

    unsigned pair[2][2];  // of tiles c % 2 and c % 2 + 2: the words of this lane and of its neighbour
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const unsigned received = __shfl_xor_sync(kAllLanes, odd ? word[2 * i] : word[2 * i + 1], 1);
      pair[i][0] = odd ? received : word[2 * i];
      pair[i][1] = odd ? word[2 * i + 1] : received;
    }
    unsigned other[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) other[i] = __shfl_xor_sync(kAllLanes, upper ? pair[0][i] : pair[1][i], 2);
    if (pred && t + int(threadIdx.x % 4) < num_tiles)
      *reinterpret_cast<uint4 *>(row + (t + threadIdx.x % 4) * kRowTileBytes<Element>) =
          upper ? make_uint4(other[0], other[1], pair[1][0], pair[1][1])
                : make_uint4(pair[0][0], pair[0][1], other[0], other[1]);
  }
  if constexpr (constexpr int kRest = kTiles % 4; kRest != 0)
    store_row_8<Element>(row + (kTiles - kRest) * kRowTileBytes<Element>, last_tiles<kRest>(columns), pred,
                         num_tiles - (kTiles - kRest));
}

// Stores the first num_tiles tiles of a row as Element, kStoreBytes (4, 8 or 16) a lane at once; nothing where `pred`
// is false. All lanes of the warp take part. Floats are stored as they are, whatever kStoreBytes is.
template <class Element, int kStoreBytes, int kTiles>
__device__ __forceinline__ void store_row(unsigned char *row, const float (&columns)[kTiles][2], bool pred,
                                          int num_tiles = kTiles) {
  if constexpr (sizeof(Element) == 4) {
    store_row_float(row, columns, pred, num_tiles);
  } else if constexpr (kStoreBytes == 4) {
    store_row_4<Element>(row, columns, pred, num_tiles);
  } else if constexpr (kStoreBytes == 8) {
    store_row_8<Element>(row, columns, pred, num_tiles);
  } else {
    store_row_16<Element>(row, columns, pred, num_tiles);
  }
}

}  // namespace evoflash
#endif
