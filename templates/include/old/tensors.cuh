/* A tensor as a kernel takes it, prepared by the launcher: a block's first copies wait for whatever arithmetic is left. Rows
 * begin on multiples of 16 bytes (see rows_aligned), so strides are counted in these, and fit an int. */
namespace evoflash {
namespace {

struct Tensor {
  unsigned char *base;
  int batch, head, row; /* strides, in units of 16 bytes */
};

#ifndef EVOFLASH_DEVICE_ONLY
inline bool units_fit_int(const int64_t (&stride)[3]) {
  for (const int64_t each : stride)
    if (each / 8 < INT32_MIN || each / 8 > INT32_MAX) return false;
  return true;
}

/* Of a tensor of halves. */
inline Tensor tensor_of(const void *base, const int64_t (&stride)[3]) {
  return {static_cast<unsigned char *>(const_cast<void *>(base)), int(stride[0] / 8), int(stride[1] / 8), int(stride[2] / 8)};
}

/* head / group for heads up to 32768 as (head * group_inverse(group)) >> 31: a division costs a kernel's start 60 instructions. */
inline unsigned group_inverse(int group) { return ((1u << 31) + unsigned(group) - 1) / unsigned(group); }
#endif

#ifndef EVOFLASH_HOST_ONLY
__device__ __forceinline__ unsigned char *row_of(const Tensor &tensor, int batch, int head, int row) {
  return tensor.base + 16 * (int64_t(batch) * tensor.batch + int64_t(head) * tensor.head + int64_t(row) * tensor.row);
}

__device__ __forceinline__ int kv_head_of(int head, unsigned inverse) { return int((unsigned long long)(unsigned(head)) * inverse >> 31); }
#endif

}  // namespace
}  // namespace evoflash
