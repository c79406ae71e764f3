#pragma once

// The order in which tiles of a matrix are computed.
namespace evoflash::linear {

// The direction of bands of tiles: those of a band share the rows of x, or of the weight.
enum class Raster { kAlongRows, kAlongColumns };

#ifndef EVOFLASH_HOST_ONLY
struct Tile {
  int m, n;
};

// Tiles go in bands of kGroup tiles, across a band before along it, so that those which are computed at the same time
// are nearly a square, and share what they read in the L2 cache.
template <Raster kRaster, int kGroup>
__device__ __forceinline__ Tile tile_at(int number, int m_tiles, int n_tiles) {
  constexpr bool kIsAlongRows = kRaster == Raster::kAlongRows;
  const int across = kIsAlongRows ? m_tiles : n_tiles, along = kIsAlongRows ? n_tiles : m_tiles;
  const int band = number / (kGroup * along), within = number - band * kGroup * along;
  const int width = min(kGroup, across - band * kGroup);
  const int place = within / width, lane = band * kGroup + within - place * width;
  return kIsAlongRows ? Tile{lane, place} : Tile{place, lane};
}
#endif

// So many tiles each way that no product above overflows.
inline constexpr int kMostTiles = 1 << 25;

}  // namespace evoflash::linear
