/* Tensor maps: how the copy engine (TMA, sm_90) knows a tensor of [batch][heads][rows][head_dim] halves.
 *
 * A map has a dimension for each, so strides may be anything, and a box that begins in a head and ends beyond its last row is
 * filled up with zeros: it never reads the next head. The launcher encodes a map, and passes it by value within a
 * __grid_constant__ parameter.
 *
 * A box is a panel of kPanelDims columns: its rows follow each other without padding, and the 16-byte units of a row
 * are permuted so that the same unit of neighbouring rows lies in different banks: unit u of row r lies where u ^ r % 8 would (in
 * panels of 32 columns u ^ r / 2 % 4). The permutation is one of address bits, so panels begin on multiples of 1024 bytes. */
{% set panel_dims = 64 if problem.head_dim % 64 == 0 else 32 %}
#ifndef EVOFLASH_DEVICE_ONLY
#include <cuda.h> /* types only */
#include <dlfcn.h>
#endif

namespace evoflash {

constexpr int kPanelDims = {{ panel_dims }};
constexpr int kPanelRowBytes = 2 * kPanelDims;

struct alignas(128) TensorMap {
  unsigned long long opaque[16];
};

#ifndef EVOFLASH_DEVICE_ONLY
namespace {

static_assert(sizeof(TensorMap) == sizeof(CUtensorMap), "the driver's type, which device code cannot name");

/* The driver's encoder, looked up once: nothing links against libcuda. Null with a driver that is older than Hopper. */
inline decltype(&cuTensorMapEncodeTiled) tensor_map_encoder() {
  static const auto found = [] {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(library ? dlsym(library, "cuTensorMapEncodeTiled") : nullptr);
  }();
  return found;
}

/* Encodes the map of a tensor for boxes of box_rows (at most 256) rows of kPanelDims columns. The result is 0, or
 * EVOFLASH_UNSUPPORTED for a tensor that a map cannot describe: strides are multiples of 16 bytes, above 0 and below 2^40. */
inline int encode(TensorMap *map, const void *base, const int64_t (&stride)[3], int batch, int heads, int rows, int head_dim, int box_rows) {
  if (tensor_map_encoder() == nullptr) return 35; /* cudaErrorInsufficientDriver */
  const cuuint64_t sizes[4] = {cuuint64_t(head_dim), cuuint64_t(rows), cuuint64_t(heads), cuuint64_t(batch)};
  cuuint64_t stride_bytes[3]; /* of rows, heads and batches */
  for (int i = 0; i < 3; ++i) {
    const int64_t elements = sizes[i + 1] == 1 ? head_dim : stride[2 - i]; /* no stride leads to a second of one */
    if (elements <= 0) return EVOFLASH_UNSUPPORTED;
    stride_bytes[i] = 2 * cuuint64_t(elements);
  }
  const cuuint32_t box[4] = {kPanelDims, cuuint32_t(box_rows), 1, 1}, every[4] = {1, 1, 1, 1};
  const int error = tensor_map_encoder()(
      reinterpret_cast<CUtensorMap *>(map), CU_TENSOR_MAP_DATA_TYPE_UINT16, 4, const_cast<void *>(base), sizes, stride_bytes, box, every,
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_{{ 128 if panel_dims == 64 else 64 }}B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return error == CUDA_ERROR_INVALID_VALUE ? EVOFLASH_UNSUPPORTED : error;
}

}  // namespace
#endif

#ifndef EVOFLASH_HOST_ONLY
/* Where a box begins. */
struct Place {
  int dim, row, head, batch;
};

__device__ __forceinline__ void prefetch(const TensorMap &map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

/* One thread loads a box into shared memory; its bytes, zeros beyond the tensor included, complete on the barrier. */
__device__ __forceinline__ void load_box(unsigned shared, const TensorMap &map, Place place, unsigned barrier) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, { %3, %4, %5, %6 }], [%2];"
               ::"r"(shared), "l"(&map), "r"(barrier), "r"(place.dim), "r"(place.row), "r"(place.head), "r"(place.batch) : "memory");
}

/* Into the same place of every block of the cluster that `ranks` has a bit for, each block's own barrier told. */
__device__ __forceinline__ void load_box_multicast(unsigned shared, const TensorMap &map, Place place, unsigned barrier, unsigned short ranks) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, { %3, %4, %5, %6 }], [%2], %7;"
               ::"r"(shared), "l"(&map), "r"(barrier), "r"(place.dim), "r"(place.row), "r"(place.head), "r"(place.batch), "h"(ranks) : "memory");
}

/* Ordinary stores to shared memory come before what the copy engine or the tensor cores read there: each thread that stored
 * fences, then comes a barrier, then the reading instruction. */
__device__ __forceinline__ void async_proxy_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

/* One thread stores a box; what lies beyond the tensor is left out. */
__device__ __forceinline__ void store_box(const TensorMap &map, Place place, unsigned shared) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, { %2, %3, %4, %5 }], [%1];"
               ::"l"(&map), "r"(shared), "r"(place.dim), "r"(place.row), "r"(place.head), "r"(place.batch) : "memory");
}

__device__ __forceinline__ void stores_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

/* Waits until the committed stores have read shared memory, which may then be written or left. */
__device__ __forceinline__ void stores_wait() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
#endif

}  // namespace evoflash
