/* Launching a kernel: the one way from a launcher to the device, whichever way this file was built.
 *
 *   plain   nvcc -shared -Xcompiler -fPIC kernel.cu
 *           Both parts of the file; kernels are launched through the runtime.
 *   split   nvcc -cubin -arch=sm_XX -DEVOFLASH_DEVICE_ONLY -o device.cubin kernel.cu
 *           g++ -x c++ -std=c++17 -O1 -fPIC -shared -DEVOFLASH_HOST_ONLY -DEVOFLASH_CUBIN='"device.cubin"'
 *               kernel.cu -ldl
 *           The launcher carries the cubin inside and loads it by the driver, which is looked up at run time.
 *
 * Use: return evoflash::launch(EVOFLASH_KERNEL(my_kernel), {grid, block, shared_bytes, cluster}, stream, arguments...);
 * A kernel is an extern "C" __global__ function, no template. The arguments have exactly its parameters' types: they
 * are handed on by address. The result is 0 or the error code of the runtime or driver.
 *
 * Everything here has internal linkage. That matters: static variables of inline functions would be unified across all
 * the libraries that a process has opened (STB_GNU_UNIQUE), and every candidate would launch the first one's kernel. */
#ifndef EVOFLASH_LAUNCH_CUH
#define EVOFLASH_LAUNCH_CUH

#ifndef EVOFLASH_DEVICE_ONLY /* a launcher is host code */

#ifdef EVOFLASH_HOST_ONLY
#include <dlfcn.h>

#include "cuda_driver.h"
#endif

namespace evoflash {
namespace {

struct Dim {
  unsigned x, y, z;
  Dim(unsigned x, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct Shape {
  Dim grid, block;
  size_t shared_bytes = 0; /* dynamic; more than 48 KiB is asked for by itself */
  unsigned cluster = 1;    /* blocks of a cluster, along x */
  /* It may start before the kernel ahead of it has ended, for which it waits itself: see programmatic_launch.cuh. */
  bool is_dependent = false;
  bool empty() const { return grid.x == 0 || grid.y == 0 || grid.z == 0; }
};

constexpr size_t kSharedWithoutAsking = 48 * 1024;
constexpr unsigned kPortableCluster = 8;

#ifdef EVOFLASH_HOST_ONLY

#ifndef EVOFLASH_CUBIN
#error "a launcher built alone needs its device code: -DEVOFLASH_CUBIN='\"device.cubin\"'"
#endif
asm(".pushsection .rodata\n"
    ".balign 64\n"
    ".local evoflash_cubin\n"
    "evoflash_cubin:\n"
    ".incbin \"" EVOFLASH_CUBIN
    "\"\n"
    ".popsection\n");
extern "C" __attribute__((visibility("hidden"))) const unsigned char evoflash_cubin[];

/* The driver's functions, looked up once; nothing links against libcuda. */
struct Driver {
  cuda_driver::Init *init;
  cuda_driver::GetContext *current_context;
  cuda_driver::SetContext *set_current_context;
  cuda_driver::RetainPrimaryContext *retain_primary_context;
  cuda_driver::ExchangeCaptureMode *exchange_capture_mode;
  cuda_driver::LoadModule *load_module;
  cuda_driver::GetFunction *module_function;
  cuda_driver::SetAttribute *set_attribute;
  cuda_driver::Launch *launch;
  int error = 0;

  Driver() {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      error = 35; /* cudaErrorInsufficientDriver */
      return;
    }
    init = reinterpret_cast<cuda_driver::Init *>(find(library, "cuInit"));
    current_context = reinterpret_cast<cuda_driver::GetContext *>(find(library, "cuCtxGetCurrent"));
    set_current_context = reinterpret_cast<cuda_driver::SetContext *>(find(library, "cuCtxSetCurrent"));
    retain_primary_context =
        reinterpret_cast<cuda_driver::RetainPrimaryContext *>(find(library, "cuDevicePrimaryCtxRetain"));
    exchange_capture_mode =
        reinterpret_cast<cuda_driver::ExchangeCaptureMode *>(find(library, "cuThreadExchangeStreamCaptureMode"));
    load_module = reinterpret_cast<cuda_driver::LoadModule *>(find(library, "cuModuleLoadData"));
    module_function = reinterpret_cast<cuda_driver::GetFunction *>(find(library, "cuModuleGetFunction"));
    set_attribute = reinterpret_cast<cuda_driver::SetAttribute *>(find(library, "cuFuncSetAttribute"));
    launch = reinterpret_cast<cuda_driver::Launch *>(find(library, "cuLaunchKernelEx"));
    if (error == 0) error = init(0);
  }

  /* Null, and an error, where the driver lacks it. */
  void *find(void *library, const char *name) {
    void *const function = dlsym(library, name);
    if (function == nullptr) error = cuda_driver::kNotFound;
    return function;
  }
};

Driver &driver() {
  static Driver found;
  return found;
}

/* The calling thread's context; a thread without one gets the first device's primary context, as in the runtime. */
int current_context(cuda_driver::Context *context) {
  if (int error = driver().current_context(context)) return error;
  if (*context != nullptr) return 0;
  if (int error = driver().retain_primary_context(context, 0)) return error;
  return driver().set_current_context(*context);
}

/* A kernel by name, with its handle in each context that has launched it. */
struct Kernel {
  const char *name;
  struct Loaded {
    cuda_driver::Context context;
    cuda_driver::Function function;
    Loaded *next;
  } *loaded = nullptr;

  constexpr explicit Kernel(const char *name) : name(name) {}

  /* Two threads may load a kernel at once: it is there twice then, which does no harm. */
  int function(cuda_driver::Context context, const Shape &shape, cuda_driver::Function *result) {
    Loaded *const first = __atomic_load_n(&loaded, __ATOMIC_ACQUIRE);
    for (const Loaded *entry = first; entry != nullptr; entry = entry->next) {
      if (entry->context == context) return *result = entry->function, 0;
    }
    if (int error = load(shape, result)) return error;
    Loaded *const entry = new Loaded{context, *result, first};
    while (!__atomic_compare_exchange_n(&loaded, &entry->next, entry, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    }
    return 0;
  }

  /* Loading allocates, which a capture in progress on any stream would forbid: the relaxed mode lifts that. */
  int load(const Shape &shape, cuda_driver::Function *function) {
    cuda_driver::CaptureMode mode = cuda_driver::kCaptureRelaxed;
    if (int error = driver().exchange_capture_mode(&mode)) return error;
    cuda_driver::Module module;
    int error = driver().load_module(&module, evoflash_cubin);
    if (error == 0) error = driver().module_function(function, module, name);
    if (error == 0 && shape.shared_bytes > kSharedWithoutAsking)
      error = driver().set_attribute(*function, cuda_driver::kMaxDynamicSharedBytes, int(shape.shared_bytes));
    if (error == 0 && shape.cluster > kPortableCluster)
      error = driver().set_attribute(*function, cuda_driver::kNonPortableClusterSizeAllowed, 1);
    driver().exchange_capture_mode(&mode);
    return error;
  }
};

int launch_addresses(Kernel &kernel, const Shape &shape, void *stream, void **arguments) {
  if (shape.empty()) return 0;
  if (driver().error != 0) return driver().error;
  cuda_driver::Context context;
  cuda_driver::Function function;
  if (int error = current_context(&context)) return error;
  if (int error = kernel.function(context, shape, &function)) return error;
  cuda_driver::LaunchAttribute attributes[2] = {};
  unsigned count = 0;
  if (shape.cluster > 1) {
    cuda_driver::LaunchAttribute &cluster = attributes[count++];
    cluster.id = cuda_driver::kClusterDimension;
    cluster.value.cluster = {shape.cluster, 1, 1};
  }
  if (shape.is_dependent) {
    cuda_driver::LaunchAttribute &dependent = attributes[count++];
    dependent.id = cuda_driver::kProgrammaticStreamSerialization;
    dependent.value.serialization_allowed = 1;
  }
  cuda_driver::LaunchConfig config{};
  config.grid_x = shape.grid.x, config.grid_y = shape.grid.y, config.grid_z = shape.grid.z;
  config.block_x = shape.block.x, config.block_y = shape.block.y, config.block_z = shape.block.z;
  config.shared_bytes = unsigned(shape.shared_bytes);
  config.stream = static_cast<cuda_driver::Stream>(stream);
  config.attributes = attributes;
  config.num_attributes = count;
  return driver().launch(&config, function, arguments, nullptr);
}

#define EVOFLASH_KERNEL(function)              \
  ([]() -> evoflash::Kernel & {                \
    static evoflash::Kernel kernel(#function); \
    return kernel;                             \
  }())

#else /* launched by the runtime */

struct Kernel {
  const void *function;
  unsigned long long prepared = 0; /* a bit for each device on which the attributes have been set */

  explicit Kernel(const void *function) : function(function) {}

  /* Setting an attribute twice does no harm, so two threads may get here at once. */
  int prepare(const Shape &shape) {
    if (shape.shared_bytes <= kSharedWithoutAsking && shape.cluster <= kPortableCluster) return 0;
    int device = 0;
    if (int error = cudaGetDevice(&device)) return error;
    const unsigned long long bit = device < 64 ? 1ull << device : 0;
    if (__atomic_load_n(&prepared, __ATOMIC_ACQUIRE) & bit) return 0;
    if (int error =
            cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shape.shared_bytes)))
      return error;
    if (shape.cluster > kPortableCluster)
      if (int error = cudaFuncSetAttribute(function, cudaFuncAttributeNonPortableClusterSizeAllowed, 1)) return error;
    __atomic_fetch_or(&prepared, bit, __ATOMIC_RELEASE);
    return 0;
  }
};

int launch_addresses(Kernel &kernel, const Shape &shape, void *stream, void **arguments) {
  if (shape.empty()) return 0;
  if (int error = kernel.prepare(shape)) {
    cudaGetLastError(); /* reported here: not to be found again by the caller's next check */
    return error;
  }
  cudaLaunchAttribute attributes[2] = {};
  unsigned count = 0;
  if (shape.cluster > 1) {
    cudaLaunchAttribute &cluster = attributes[count++];
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = shape.cluster;
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
  }
  if (shape.is_dependent) {
    cudaLaunchAttribute &dependent = attributes[count++];
    dependent.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    dependent.val.programmaticStreamSerializationAllowed = 1;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(shape.grid.x, shape.grid.y, shape.grid.z);
  config.blockDim = dim3(shape.block.x, shape.block.y, shape.block.z);
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = attributes;
  config.numAttrs = count;
  const int error = cudaLaunchKernelExC(&config, kernel.function, arguments);
  if (error != 0) cudaGetLastError();
  return error;
}

#define EVOFLASH_KERNEL(function)                                              \
  ([]() -> evoflash::Kernel & {                                                \
    static evoflash::Kernel kernel(reinterpret_cast<const void *>(&function)); \
    return kernel;                                                             \
  }())

#endif

/* A kernel's attributes are set once for each device: all its launches have the same shared memory and cluster size. */
template <typename... Arguments>
int launch(Kernel &kernel, const Shape &shape, void *stream, const Arguments &...arguments) {
  void *addresses[] = {const_cast<Arguments *>(&arguments)..., nullptr};
  return launch_addresses(kernel, shape, stream, addresses);
}

}  // namespace
}  // namespace evoflash

#endif

#endif  // EVOFLASH_LAUNCH_CUH
