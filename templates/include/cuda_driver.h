/* What launchers use of the CUDA driver. The declarations are those of cuda.h, which takes 12 ms to compile, a sixth of
 * what a launcher takes. The driver's ABI does not change; a test compares the two. */
#ifndef EVOFLASH_CUDA_DRIVER_H
#define EVOFLASH_CUDA_DRIVER_H

#ifndef EVOFLASH_DEVICE_ONLY /* a launcher is host code */

#include "evoflash.h"

namespace evoflash {
namespace cuda_driver {

using Context = struct ContextData *;
using Module = struct ModuleData *;
using Function = struct FunctionData *;
using Stream = struct StreamData *;

/* Errors are int: 0, or the driver's code. */
constexpr int kInvalidValue = 1, kNotFound = 500;

enum CaptureMode { kCaptureRelaxed = 2 };
enum FunctionAttribute { kMaxDynamicSharedBytes = 8, kNonPortableClusterSizeAllowed = 14 };
enum LaunchAttributeId { kClusterDimension = 4, kProgrammaticStreamSerialization = 6 };

struct LaunchAttribute {
  LaunchAttributeId id;
  union alignas(8) {
    char bytes[64];
    struct {
      unsigned x, y, z;
    } cluster;
    int serialization_allowed;
  } value;
};

struct LaunchConfig {
  unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
  Stream stream;
  LaunchAttribute *attributes;
  unsigned num_attributes;
};

/* What a tensor map has. */
enum MapType { kUint16 = 1 };
enum MapInterleave { kNoInterleave = 0 };
enum MapSwizzle { kNoSwizzle = 0, kSwizzle64B = 2, kSwizzle128B = 3 };
enum MapPromotion { kPromotion256B = 3 };
enum MapFill { kZeros = 0 };

using Init = int(unsigned);
using GetContext = int(Context *);
using SetContext = int(Context);
using RetainPrimaryContext = int(Context *, int device);
using ExchangeCaptureMode = int(CaptureMode *);
using LoadModule = int(Module *, const void *image);
using GetFunction = int(Function *, Module, const char *name);
using SetAttribute = int(Function, FunctionAttribute, int value);
using Launch = int(const LaunchConfig *, Function, void **arguments, void **extra);
using EncodeTiled = int(void *map, MapType, unsigned rank, void *data, const uint64_t *sizes,
                        const uint64_t *stride_bytes, const unsigned *box, const unsigned *element_strides,
                        MapInterleave, MapSwizzle, MapPromotion, MapFill);

}  // namespace cuda_driver
}  // namespace evoflash

#endif

#endif  // EVOFLASH_CUDA_DRIVER_H
