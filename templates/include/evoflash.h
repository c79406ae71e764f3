/* The C interface of a kernel, whatever it computes. A problem's own header, generated from its signature, names the
   tensors and numbers, and declares the two functions that a kernel exports. A change here is a new version of the
   interface: see evoflash/problems/c_interface/declaration.py. */
#ifndef EVOFLASH_H
#define EVOFLASH_H

#ifdef __CUDACC_RTC__ /* NVRTC has no standard headers */
typedef int int32_t;
typedef long long int64_t;
typedef unsigned uint32_t;
typedef unsigned long long uint64_t;
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#else
#include <stddef.h>
#include <stdint.h>
#endif

/* Returned by evoflash_launch for tensors that this kernel does not take; nothing has been written then. */
#define EVOFLASH_UNSUPPORTED (-1)

#define EVOFLASH_MAX_RANK 6

enum EvoflashDtype {
  EVOFLASH_FLOAT64,
  EVOFLASH_FLOAT32,
  EVOFLASH_FLOAT16,
  EVOFLASH_BFLOAT16,
  EVOFLASH_FLOAT8_E4M3,
  EVOFLASH_FLOAT8_E5M2,
  EVOFLASH_INT64,
  EVOFLASH_INT32,
  EVOFLASH_INT16,
  EVOFLASH_INT8,
  EVOFLASH_UINT8,
  EVOFLASH_BOOL,
};

typedef struct {
  void *data;    /* the first element; NULL for a tensor that a call does not have, whose rank is 0 */
  int32_t dtype; /* an EvoflashDtype */
  int32_t rank;
  int64_t size[EVOFLASH_MAX_RANK], stride[EVOFLASH_MAX_RANK]; /* of `rank` dimensions; strides in elements */
} EvoflashTensor;

#endif  // EVOFLASH_H
