// The operators of this package, in C++: a call through Python and ctypes costs more than many a kernel.
//
// A call is computed by the first kernel of the table that takes its inputs, and by PyTorch's
// scaled_dot_product_attention (SDPA) where none does. The code keeps to PyTorch's stable ABI, so one build of it
// serves every PyTorch from 2.10 on.
//
//   g++ -DPACKAGE=<name of the package> [-DUSE_CUDA] -DTORCH_TARGET_VERSION=0x020a000000000000 ...
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#ifdef USE_CUDA
#include <dlfcn.h>
#endif

#include <atomic>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

using torch::stable::Tensor;

// EvoflashAttention of the kernels' sources.
struct Problem {
  const void *q, *k, *v;
  void *out;
  void *workspace;
  int32_t batch, heads, kv_heads, seq_q, seq_kv, head_dim;
  int64_t q_stride[3], k_stride[3], v_stride[3], out_stride[3];  // of batch, head and row, in elements
  float scale;
  int32_t causal;
};

struct Range {
  int64_t first, last;
};

// A row of the table: a kernel, and what it is asked for.
struct Kernel {
  size_t (*workspace_bytes)(const Problem *);
  int (*launch)(const Problem *, void *stream);
  void (*set_num_threads)(int);  // of its OpenMP runtime, which need not be PyTorch's; null without one
  int32_t device_type, dtype;    // in PyTorch's numbers
  int32_t head_size, causal;
  uint64_t devices;  // a bit for each device that runs the machine code
  Range query_length, key_length, batch_heads;
};

// Why a kernel does not take inputs. Python has the words, in this order.
enum Reason : int64_t {
  kTaken,
  kDevice,
  kDtype,
  kHeadSize,
  kMask,
  kEmpty,
  kQueryLength,
  kKeyLength,
  kBatchHeads,
  kStride,
  kDeclined,
};

namespace {

constexpr int kLauncherDeclines = -1;  // a launcher's answer to what it does not compute; it has written nothing then
constexpr int kDims = 4;               // batch, heads, length, head size

struct Row {
  Kernel kernel;
  std::atomic<int64_t> calls{0};
};

// Rows are only added, one thread at a time, while others may read those that are counted already.
constexpr size_t kMostRows = 64;
Row table[kMostRows];
std::atomic<size_t> num_rows{0};
std::atomic<int64_t> sdpa_calls{0};

void check(AOTITorchError code) {
  STD_TORCH_CHECK(code == AOTI_TORCH_SUCCESS, "a call of PyTorch's C interface failed with code ", code);
}

// What is read of a tensor. It borrows the tensor.
struct Operand {
  AtenTensorHandle handle;
  int64_t dims;
  int64_t *size, *stride;
  int32_t dtype, device_type, device_index;

  explicit Operand(const Tensor &tensor) : handle(tensor.get()), dims(tensor.dim()) {
    check(aoti_torch_get_sizes(handle, &size));
    check(aoti_torch_get_strides(handle, &stride));
    check(aoti_torch_get_dtype(handle, &dtype));
    check(aoti_torch_get_device_type(handle, &device_type));
    check(aoti_torch_get_device_index(handle, &device_index));
  }
  void *data() const {
    void *pointer;
    check(aoti_torch_get_data_ptr(handle, &pointer));
    return pointer;
  }
  bool is_empty() const { return size[0] == 0 || size[1] == 0 || size[2] == 0 || size[3] == 0; }
};

struct Inputs {
  Operand q, k, v;
  bool causal;
  std::optional<double> scale;

  // Throws for tensors that do not belong together. Python says which rule they break.
  void require_fit(bool enable_gqa) const {
    bool fits = q.dims == kDims && k.dims == kDims && v.dims == kDims;
    fits = fits && q.size[0] == k.size[0] && q.size[0] == v.size[0];                            // batch
    fits = fits && k.size[1] == v.size[1] && k.size[2] == v.size[2] && q.size[3] == k.size[3];  // keys
    fits = fits && (q.size[1] == k.size[1] || (enable_gqa && k.size[1] != 0 && q.size[1] % k.size[1] == 0));
    fits = fits && q.dtype == k.dtype && q.dtype == v.dtype;
    fits = fits && q.device_type == k.device_type && q.device_type == v.device_type;
    fits = fits && q.device_index == k.device_index && q.device_index == v.device_index;
    STD_TORCH_CHECK(fits, "q, k and v do not fit together");
  }

  // Rows of the output lie as those of Q do: a head's together, or a position's, as projections leave them.
  bool is_by_position() const { return q.stride[1] < q.stride[2]; }

  // Of batch, head and row.
  void out_strides(int64_t (&stride)[3]) const {
    const int64_t row = v.size[3];
    stride[0] = q.size[1] * q.size[2] * row;
    stride[1] = is_by_position() ? row : q.size[2] * row;
    stride[2] = is_by_position() ? q.size[1] * row : row;
  }

  Problem problem() const {
    const double factor = scale.has_value() ? *scale : 1.0 / std::sqrt(double(q.size[3]));
    Problem problem{q.data(), k.data(), v.data(), nullptr, nullptr};
    problem.batch = int32_t(q.size[0]), problem.heads = int32_t(q.size[1]), problem.kv_heads = int32_t(k.size[1]);
    problem.seq_q = int32_t(q.size[2]), problem.seq_kv = int32_t(k.size[2]), problem.head_dim = int32_t(q.size[3]);
    for (int i = 0; i < 3; ++i) {
      problem.q_stride[i] = q.stride[i], problem.k_stride[i] = k.stride[i], problem.v_stride[i] = v.stride[i];
    }
    out_strides(problem.out_stride);
    problem.scale = float(factor), problem.causal = causal;
    return problem;
  }
};

bool within(const Range &range, int64_t value) { return range.first <= value && value <= range.last; }

// Whether the table asks a kernel, which may still decline.
Reason reason(const Kernel &kernel, const Inputs &inputs) {
  const Operand &q = inputs.q, &k = inputs.k, &v = inputs.v;
  if (q.device_type != kernel.device_type) return kDevice;
  if (q.device_index > 63 || !(kernel.devices >> (q.device_index < 0 ? 0 : q.device_index) & 1)) return kDevice;
  if (q.dtype != kernel.dtype) return kDtype;
  if (q.size[3] != kernel.head_size || v.size[3] != kernel.head_size) return kHeadSize;
  if (inputs.causal != (kernel.causal != 0)) return kMask;
  if (q.is_empty() || k.is_empty()) return kEmpty;
  for (const int64_t size : {q.size[0], q.size[1], q.size[2], k.size[2]})
    if (size > INT32_MAX) return kDeclined;  // more than a Problem can say
  if (!within(kernel.query_length, q.size[2])) return kQueryLength;
  if (!within(kernel.key_length, k.size[2])) return kKeyLength;
  if (!within(kernel.batch_heads, q.size[0] * q.size[1])) return kBatchHeads;
  if (q.stride[3] != 1 || k.stride[3] != 1 || v.stride[3] != 1) return kStride;
  return kTaken;
}

// Not by torch::stable::new_empty, which takes 0.6 us more, by way of the dispatcher.
template <int kRank>
Tensor empty(const int64_t (&size)[kRank], const int64_t (&stride)[kRank], int32_t dtype, const Operand &like) {
  AtenTensorHandle handle;
  check(aoti_torch_empty_strided(kRank, size, stride, dtype, like.device_type, like.device_index, &handle));
  return Tensor(handle);
}

// The output of a kernel; nothing where it declines.
std::optional<Tensor> compute(Row &row, const Inputs &inputs) {
  const Kernel &kernel = row.kernel;
  Problem problem = inputs.problem();
#ifdef USE_CUDA
  const torch::stable::accelerator::DeviceGuard guard(inputs.q.device_index);
#endif
  const Operand &like = inputs.q;
  const int64_t *stride = problem.out_stride;
  Tensor out = empty<kDims>({like.size[0], like.size[1], like.size[2], inputs.v.size[3]},
                            {stride[0], stride[1], stride[2], 1}, like.dtype, like);
  problem.out = out.data_ptr();
  std::optional<Tensor> workspace;  // freed at the end: the allocator keeps it for later work of the same stream
  if (const int64_t bytes = int64_t(kernel.workspace_bytes(&problem))) {
    workspace = empty<1>({bytes}, {1}, aoti_torch_dtype_uint8(), like);
    problem.workspace = workspace->data_ptr();
  }
  void *stream = nullptr;
#ifdef USE_CUDA
  check(aoti_torch_get_current_cuda_stream(like.device_index, &stream));
#else
  if (kernel.set_num_threads != nullptr) kernel.set_num_threads(int(torch::stable::get_num_threads()));
#endif
  const int code = kernel.launch(&problem, stream);
  if (code == kLauncherDeclines) return std::nullopt;
  STD_TORCH_CHECK(code == 0, "the kernel failed with code ", code, " on q of ", problem.batch, " x ", problem.heads,
                  " x ", problem.seq_q, " x ", problem.head_dim, ", k of ", problem.seq_kv, " rows");
  row.calls.fetch_add(1, std::memory_order_relaxed);
  return out;
}

Tensor sdpa(const Tensor &q, const Tensor &k, const Tensor &v, bool causal, std::optional<double> scale, bool grouped) {
  sdpa_calls.fetch_add(1, std::memory_order_relaxed);
  using torch::stable::detail::from;
  const std::optional<Tensor> mask;
  StableIValue stack[] = {from(q), from(k), from(v), from(mask), from(0.0), from(causal), from(scale), from(grouped)};
  check(torch_call_dispatcher("aten::scaled_dot_product_attention", "", stack, TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

Tensor attend(const Tensor &q, const Tensor &k, const Tensor &v, bool causal, std::optional<double> scale,
              bool enable_gqa) {
  const Inputs inputs{Operand(q), Operand(k), Operand(v), causal, scale};
  inputs.require_fit(enable_gqa);
  for (size_t i = 0, rows = num_rows.load(std::memory_order_acquire); i < rows; ++i) {
    if (reason(table[i].kernel, inputs) != kTaken) continue;
    if (std::optional<Tensor> out = compute(table[i], inputs)) return *std::move(out);
  }
  return sdpa(q, k, v, causal, scale, inputs.q.size[1] != inputs.k.size[1]);
}

// softmax(scale * q k^T) v, whose rows lie as those of q: compiled code relies on that, also of SDPA's outputs.
Tensor attention(const Tensor &q, const Tensor &k, const Tensor &v, bool causal, std::optional<double> scale) {
  const Tensor out = attend(q, k, v, causal, scale, true);
  if (q.stride(1) < q.stride(2)) {
    const Tensor by_position = torch::stable::transpose(out, 1, 2);
    return by_position.is_contiguous() ? out : torch::stable::transpose(torch::stable::contiguous(by_position), 1, 2);
  }
  return out.is_contiguous() ? out : torch::stable::contiguous(out);
}

// The same by the names and rules of SDPA, whose outputs have whatever layout is cheapest.
Tensor scaled_dot_product_attention(const Tensor &query, const Tensor &key, const Tensor &value, bool is_causal,
                                    std::optional<double> scale, bool enable_gqa) {
  return attend(query, key, value, is_causal, scale, enable_gqa);
}

// By the kernel of one row, and no other.
Tensor attention_by(const Tensor &q, const Tensor &k, const Tensor &v, bool causal, std::optional<double> scale,
                    int64_t row) {
  const Inputs inputs{Operand(q), Operand(k), Operand(v), causal, scale};
  inputs.require_fit(true);
  STD_TORCH_CHECK(0 <= row && size_t(row) < num_rows, "there is no kernel ", row);
  STD_TORCH_CHECK(reason(table[row].kernel, inputs) == kTaken, "kernel ", row, " does not take these inputs");
  std::optional<Tensor> out = compute(table[row], inputs);
  STD_TORCH_CHECK(out.has_value(), "kernel ", row, " declines these inputs");
  return *std::move(out);
}

#ifdef USE_CUDA
// A stream that records launches and runs none, by which a launcher is asked what it would do.
class RecordingStream {
 public:
  RecordingStream() : driver_(dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL)) {
    // Without it the launch would run, and write into q.
    const bool records = driver_ != nullptr && call<void **, unsigned>("cuStreamCreate", &stream_, kNonBlocking) == 0 &&
                         call<void *, int>("cuStreamBeginCapture_v2", stream_, kRelaxed) == 0;
    STD_TORCH_CHECK(records, "the CUDA driver records no launches");
  }
  ~RecordingStream() {
    void *graph = nullptr;
    call<void *, void **>("cuStreamEndCapture", stream_, &graph);
    if (graph != nullptr) call<void *>("cuGraphDestroy", graph);
    call<void *>("cuStreamDestroy_v2", stream_);
    dlclose(driver_);
  }
  void *get() const { return stream_; }

 private:
  static constexpr unsigned kNonBlocking = 1;  // CU_STREAM_NON_BLOCKING
  static constexpr int kNoSuchFunction = -1;
  static constexpr int kRelaxed = 2;  // CU_STREAM_CAPTURE_MODE_RELAXED: loading a kernel allocates

  template <class... Arguments>
  int call(const char *name, Arguments... arguments) {
    const auto function = reinterpret_cast<int (*)(Arguments...)>(dlsym(driver_, name));
    return function != nullptr ? function(arguments...) : kNoSuchFunction;
  }

  void *driver_;
  void *stream_ = nullptr;
};
#endif

// Why the kernel of a row does not take inputs. Its launcher is asked without any work being done: a GPU's launch is
// recorded and dropped, a CPU's has a batch of 0.
int64_t refusal(const Tensor &q, const Tensor &k, const Tensor &v, bool causal, std::optional<double> scale,
                int64_t row) {
  const Inputs inputs{Operand(q), Operand(k), Operand(v), causal, scale};
  inputs.require_fit(true);
  STD_TORCH_CHECK(0 <= row && size_t(row) < num_rows, "there is no kernel ", row);
  const Kernel &kernel = table[row].kernel;
  const Reason found = reason(kernel, inputs);
  if (found != kTaken) return found;
  Problem problem = inputs.problem();
  problem.out = problem.workspace = const_cast<void *>(problem.q);  // as well aligned as an output
#ifdef USE_CUDA
  const torch::stable::accelerator::DeviceGuard guard(inputs.q.device_index);
  const RecordingStream recording;
  const int code = kernel.launch(&problem, recording.get());
#else
  problem.batch = 0;
  const int code = kernel.launch(&problem, nullptr);
#endif
  return code == kLauncherDeclines ? kDeclined : kTaken;
}

}  // namespace

extern "C" {

// For Python, under a lock: 0, or 1 where the table is full.
int add_kernel(const Kernel *kernel) {
  const size_t row = num_rows.load();
  if (row == kMostRows) return 1;
  table[row].kernel = *kernel;
  num_rows.store(row + 1, std::memory_order_release);
  return 0;
}

// How often a row's kernel has computed; of row -1, SDPA.
int64_t calls_of(int64_t row) { return row < 0 ? sdpa_calls.load() : table[row].calls.load(); }
}

// The schemas are Python's, which registers fake kernels with them (_operators.py).
STABLE_TORCH_LIBRARY_IMPL(PACKAGE, CPU, library) {
  library.impl("attention", TORCH_BOX(&attention));
  library.impl("scaled_dot_product_attention", TORCH_BOX(&scaled_dot_product_attention));
  library.impl("attention_by", TORCH_BOX(&attention_by));
  library.impl("refusal", TORCH_BOX(&refusal));
}

#ifdef USE_CUDA
STABLE_TORCH_LIBRARY_IMPL(PACKAGE, CUDA, library) {
  library.impl("attention", TORCH_BOX(&attention));
  library.impl("scaled_dot_product_attention", TORCH_BOX(&scaled_dot_product_attention));
  library.impl("attention_by", TORCH_BOX(&attention_by));
  library.impl("refusal", TORCH_BOX(&refusal));
}
#endif
