// The table of this package's kernels, and how one of them is asked, whoever asks: the operators or the direct call.
#pragma once
#include <atomic>
#include <cmath>
#include <cstdint>
#include <optional>

#include "pytorch.h"

// EvoflashAttention of the kernels' sources.
struct Problem {
  const void *q, *k, *v;
  void *out;
  void *workspace;
  int32_t batch, heads, kv_heads, seq_q, seq_kv, head_dim;
  int64_t q_stride[3], k_stride[3], v_stride[3], out_stride[3];  // of batch, head and row, in elements
  float scale;
  int32_t causal;
  // Of features, which no kernel of a package has.
  int32_t value_dim, banded, diagonal, window_left, window_right;
  float softcap;
  const void *bias, *mask, *slopes, *sinks;
  int64_t bias_stride[4], mask_stride[4];
  const int32_t *lengths, *block_table;
  int64_t table_stride;
  int32_t page_size, num_pages;
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

// What is read of a tensor, which it borrows.
struct Operand {
  int64_t dims;
  const int64_t *size, *stride;
  int32_t dtype, device_type, device_index;
  void *data;

  bool is_empty() const { return size[0] == 0 || size[1] == 0 || size[2] == 0 || size[3] == 0; }
};

struct Inputs {
  Operand q, k, v;
  bool causal;
  std::optional<double> scale;

  // Whether the tensors belong together. Python says which rule they break.
  bool fit(bool enable_gqa) const {
    bool fits = q.dims == kDims && k.dims == kDims && v.dims == kDims;
    fits = fits && q.size[0] == k.size[0] && q.size[0] == v.size[0];                            // batch
    fits = fits && k.size[1] == v.size[1] && k.size[2] == v.size[2] && q.size[3] == k.size[3];  // keys
    fits = fits && (q.size[1] == k.size[1] || (enable_gqa && k.size[1] != 0 && q.size[1] % k.size[1] == 0));
    fits = fits && q.dtype == k.dtype && q.dtype == v.dtype;
    fits = fits && q.device_type == k.device_type && q.device_type == v.device_type;
    return fits && q.device_index == k.device_index && q.device_index == v.device_index;
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
    Problem problem{q.data, k.data, v.data, nullptr, nullptr};
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

// Starts the kernel of a row; false where it declines. The caller has set the device and allocated the output.
bool run(Row &row, Problem &problem, const Operand &q) {
  const Kernel &kernel = row.kernel;
  std::optional<Tensor> workspace;  // freed at the end: the allocator keeps it for its stream's work
  if (const int64_t bytes = int64_t(kernel.workspace_bytes(&problem))) {
    const int64_t stride = 1;
    workspace = empty(1, &bytes, &stride, aoti_torch_dtype_uint8(), q.device_type, q.device_index);
    problem.workspace = workspace->data_ptr();
  }
  void *stream = nullptr;
#ifdef USE_CUDA
  check(aoti_torch_get_current_cuda_stream(q.device_index, &stream));
#else
  if (kernel.set_num_threads != nullptr) kernel.set_num_threads(num_threads());
#endif
  const int code = kernel.launch(&problem, stream);
  if (code == kLauncherDeclines) return false;
  STD_TORCH_CHECK(code == 0, "the kernel failed with code ", code, " on q of ", problem.batch, " x ", problem.heads,
                  " x ", problem.seq_q, " x ", problem.head_dim, ", k of ", problem.seq_kv, " rows");
  row.calls.fetch_add(1, std::memory_order_relaxed);
  return true;
}

}  // namespace
