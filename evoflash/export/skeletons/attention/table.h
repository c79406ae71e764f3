// The table of this package's kernels, and how one of them is asked, whoever asks: the operators or the direct call.
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

#include "arguments.h"
#include "attention.h"
#include "launch.h"
#include "rows.h"
#include "sdpa.h"

// What a kernel does beside softmax(scale q k^T) v, as bits. A kernel does what it is made for, and nothing less.
enum Feature : int32_t {
  kCausal = 1,    // rows see the keys up to their own number
  kBand = 2,      // a window, or a diagonal that is not the matrix's
  kBoolMask = 4,  // a tensor says which keys are seen
  kBias = 8,      // a tensor of q's dtype is added to scores
  kSoftcap = 16,
  kSlopes = 32,       // ALiBi
  kSinks = 64,        // a further logit of each head
  kOtherMask = 128,   // a mask of another dtype, which no kernel takes
  kLengths = 256,     // sequences have numbers of keys of their own
  kOtherAlign = 512,  // their rows stand at the first key, where that matters, which no kernel takes
  kLatent = 1024,     // values are the first columns of k
};

// A row of the table: a kernel, and what it is asked for.
struct Kernel {
  Launcher<Attention> launcher;
  int32_t device_type, dtype;  // in PyTorch's numbers
  int32_t head_size, value_size;
  int32_t features;
  int32_t page_size;  // keys of a page; 0 without pages
  uint64_t devices;   // a bit for each device that runs the machine code
  Range query_length, key_length, batch_heads;
};

// Why a kernel does not take inputs. Python has the words, in this order.
enum Reason : int64_t {
  kTaken,
  kDevice,
  kDtype,
  kHeadSize,
  kValueSize,
  kOtherCausal,
  kOtherWindow,
  kOtherAttnMask,
  kOtherSoftcap,
  kOtherSlopes,
  kOtherSinks,
  kOtherLengths,
  kOtherRows,
  kOtherPages,
  kOtherValues,
  kEmpty,
  kQueryLength,
  kKeyLength,
  kBatchHeads,
  kStride,
  kDeclined,
};

namespace {

constexpr int kDims = 4;                                 // batch, heads, length, head size
constexpr int32_t kInt32 = 3, kFloat32 = 6, kBool = 11;  // c10::ScalarType

using Row = KernelRow<Kernel>;
Table<Kernel> table;

// Which keys row i sees: those from i + diagonal - left to i + diagonal + right; -1 is no limit.
struct Band {
  int64_t diagonal, left, right;
};

// What is asked of a call beside scale and causal mask.
struct Terms {
  std::optional<Operand> mask, slopes, sinks;
  std::optional<Operand> lengths;      // of sequences, (batch,)
  std::optional<Operand> block_table;  // (batch, pages): k and v then are (pages, heads, keys of a page, size)
  int64_t window_left, window_right;   // -1 is no limit
  bool bottom_right;                   // the last row stands at the last key, else the first row at the first key
  double softcap;                      // 0 is none

  bool is_mask_alone() const {
    return !slopes && !sinks && !lengths && !block_table && window_left < 0 && window_right < 0 && !bottom_right &&
           softcap == 0;
  }
};

struct Inputs {
  Operand q, k, v;
  bool causal;
  std::optional<double> scale;
  const Terms *terms = nullptr;  // null for a plain call

  bool is_paged() const { return terms != nullptr && terms->block_table; }
  int64_t page_size() const { return is_paged() ? k.size[2] : 0; }  // in keys

  // How many keys a sequence has at most.
  int64_t keys() const { return is_paged() ? terms->block_table->size[1] * k.size[2] : k.size[2]; }

  // Whether the values are the first columns of k.
  bool is_latent() const {
    bool is_same = v.data == k.data && v.size[3] <= k.size[3];
    for (int i = 0; i < 3; ++i) is_same = is_same && (v.stride[i] == k.stride[i] || v.size[i] == 1);
    return is_same;
  }

  // Whether the tensors belong together. Python says which rule they break.
  bool fit(bool enable_gqa) const {
    bool fits = q.dims == kDims && k.dims == kDims && v.dims == kDims;
    fits = fits && k.size[0] == v.size[0] && (is_paged() || q.size[0] == k.size[0]);            // batch
    fits = fits && k.size[1] == v.size[1] && k.size[2] == v.size[2] && q.size[3] == k.size[3];  // keys
    fits = fits && (q.size[1] == k.size[1] || (enable_gqa && k.size[1] != 0 && q.size[1] % k.size[1] == 0));
    fits = fits && q.dtype == k.dtype && q.dtype == v.dtype;
    fits = fits && is_beside_q(k) && is_beside_q(v);
    return fits && (terms == nullptr || terms_fit());
  }

  bool terms_fit() const {
    if (terms->mask && !(is_beside_q(*terms->mask) && is_broadcast(*terms->mask))) return false;
    for (const std::optional<Operand> &each : {terms->slopes, terms->sinks})
      if (each && !(is_beside_q(*each) && each->dims == 1 && each->size[0] == q.size[1])) return false;
    return are_indices(terms->lengths, 1) && are_indices(terms->block_table, 2) && (!is_paged() || k.size[0] > 0);
  }

  // Whether there are none, or those of each sequence.
  bool are_indices(const std::optional<Operand> &given, int64_t dims) const {
    return !given || (is_beside_q(*given) && given->dims == dims && given->size[0] == q.size[0]);
  }

  bool is_beside_q(const Operand &other) const {
    return q.device_type == other.device_type && q.device_index == other.device_index;
  }

  // Whether a mask extends over batch, heads, rows and keys as SDPA's does: its last dimensions, each of size 1 or
  // whole.
  bool is_broadcast(const Operand &mask) const {
    const int64_t whole[] = {q.size[0], q.size[1], q.size[2], keys()};
    if (mask.dims < 2 || mask.dims > kDims) return false;
    for (int64_t i = 0; i < mask.dims; ++i)
      if (mask.size[i] != 1 && mask.size[i] != whole[kDims - mask.dims + i]) return false;
    return true;
  }

  // Of a sequence that has all keys: with fewer, its diagonal is that much less where it is aligned bottom-right.
  Band band() const {
    if (terms == nullptr) return {0, -1, causal ? 0 : -1};
    const int64_t diagonal = terms->bottom_right ? keys() - q.size[2] : 0;
    return {diagonal, terms->window_left, causal ? 0 : terms->window_right};
  }

  // What the call asks of a kernel.
  int32_t features() const {
    if (terms == nullptr) return causal ? kCausal : 0;
    const bool is_banded = terms->window_left >= 0 || (terms->window_right >= 0 && !causal);
    return with_others(is_banded || (causal && terms->bottom_right) ? kBand : causal ? kCausal : 0);
  }

  // The same, where these lengths make no band of it: a window may be wider than they are.
  int32_t least_features() const {
    if (terms == nullptr) return features();
    const auto [diagonal, left, right] = band();
    const bool sees_first = left < 0 || left >= q.size[2] - 1 + diagonal;  // also the last row sees the first key
    const bool sees_last = right < 0 || right >= keys() - 1 - diagonal;    // also the first row sees the last key
    const bool is_causal = sees_first && diagonal + right == 0 && !(terms->lengths && terms->bottom_right);
    return with_others(sees_first && sees_last ? 0 : is_causal ? kCausal : kBand);
  }

  // Those of a band, which is given, and all others.
  int32_t with_others(int32_t found) const {
    if (terms->lengths) found |= kLengths | (!terms->bottom_right && (found || terms->slopes) ? kOtherAlign : 0);
    found |= (terms->softcap != 0 ? kSoftcap : 0) | (terms->slopes ? kSlopes : 0) | (terms->sinks ? kSinks : 0);
    if (terms->mask) {
      const int32_t dtype = terms->mask->dtype;
      found |= dtype == kBool ? kBoolMask : dtype == q.dtype ? kBias : kOtherMask;
    }
    return found;
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

  // As a kernel with these features is asked; the output is not there yet.
  Attention problem(int32_t features) const {
    Attention problem;
    clear(&problem.q, offsetof(Attention, scale) / sizeof(EvoflashTensor));
    std::memset(&problem.scale, 0, sizeof(Attention) - offsetof(Attention, scale));  // numbers and workspace
    set(problem.q, q), set(problem.k, k), set(problem.v, v), set_output(problem.out);
    if (features & kLatent) std::copy_n(k.stride, kDims, problem.v.stride);  // also where a size is 1
    problem.scale = scale.has_value() ? *scale : 1.0 / std::sqrt(double(q.size[3]));
    problem.causal = (features & kCausal) != 0;
    if (terms != nullptr) add_terms(problem, features);
    return problem;
  }

  void set_output(EvoflashTensor &out) const {
    out.dtype = code_of(q.dtype), out.rank = kDims;
    std::copy_n(q.size, 3, out.size);
    out.size[3] = v.size[3];
    int64_t stride[3];
    out_strides(stride);
    std::copy_n(stride, 3, out.stride);
    out.stride[3] = 1;
  }

  void add_terms(Attention &problem, int32_t features) const {
    const auto [diagonal, left, right] = band();
    problem.diagonal = diagonal;
    if (features & kBand) {
      problem.banded = 1, problem.causal = causal;
      problem.window_left = left, problem.window_right = right;
    }
    problem.softcap = terms->softcap;
    if (terms->slopes) set(problem.slopes, *terms->slopes);
    if (terms->sinks) set(problem.sinks, *terms->sinks);
    if (terms->lengths) set(problem.lengths, *terms->lengths);
    if (terms->block_table) {
      set(problem.block_table, *terms->block_table), problem.max_seqlen_k = keys();
      for (EvoflashTensor *cache : {&problem.k, &problem.v}) {  // whose pages have their keys before their heads
        std::swap(cache->size[1], cache->size[2]);
        std::swap(cache->stride[1], cache->stride[2]);
      }
    }
    if (terms->mask) set_broadcast(features & kBias ? problem.bias : problem.mask, *terms->mask);
  }

  // A mask, with all dimensions.
  static void set_broadcast(EvoflashTensor &argument, const Operand &mask) {
    argument.data = mask.data, argument.dtype = code_of(mask.dtype), argument.rank = kDims;
    const int64_t absent = kDims - mask.dims;
    std::fill_n(argument.size, absent, 1), std::fill_n(argument.stride, absent, 0);
    std::copy_n(mask.size, mask.dims, argument.size + absent);
    std::copy_n(mask.stride, mask.dims, argument.stride + absent);
  }
};

// The same without a sequence, for which a kernel has nothing to do.
void empty_batch(Attention &problem) {
  const bool is_paged = problem.block_table.data != nullptr;
  problem.q.size[0] = problem.out.size[0] = 0;
  if (!is_paged) problem.k.size[0] = problem.v.size[0] = 0;
  for (EvoflashTensor *each : {&problem.lengths, &problem.block_table, &problem.mask, &problem.bias})
    if (each->data != nullptr && (each->rank < kDims || each->size[0] > 1)) each->size[0] = 0;
}

// What a kernel does that is not asked for, or does not do that is.
Reason difference(int32_t features, int32_t asked) {
  const int32_t bits = features ^ asked;
  if (bits & (kBoolMask | kBias | kOtherMask)) return kOtherAttnMask;
  if (bits & kSoftcap) return kOtherSoftcap;
  if (bits & kSlopes) return kOtherSlopes;
  if (bits & kSinks) return kOtherSinks;
  if (bits & kLengths) return kOtherLengths;
  if (bits & kOtherAlign) return kOtherRows;
  return bits & kBand ? kOtherWindow : kOtherCausal;
}

// Whether the table asks a kernel, which may still decline.
Reason reason(const Kernel &kernel, const Inputs &inputs) {
  const Operand &q = inputs.q, &k = inputs.k, &v = inputs.v;
  if (q.device_type != kernel.device_type || !runs_on(kernel.devices, q.device_index)) return kDevice;
  if (q.dtype != kernel.dtype) return kDtype;
  if (q.size[3] != kernel.head_size) return kHeadSize;
  if (v.size[3] != kernel.value_size) return kValueSize;
  const int32_t asked = inputs.features(), made_for = kernel.features & ~kLatent;
  if (made_for != asked && made_for != inputs.least_features()) return difference(made_for, asked);
  if (kernel.page_size != inputs.page_size()) return kOtherPages;
  if (kernel.features & kLatent && !inputs.is_latent()) return kOtherValues;
  const int64_t keys = inputs.keys();
  if (q.is_empty() || k.is_empty() || keys == 0) return kEmpty;
  for (const int64_t size : {q.size[0], q.size[1], q.size[2], k.size[0], keys})
    if (size > INT32_MAX) return kDeclined;  // more than kernels count
  if (!within(kernel.query_length, q.size[2])) return kQueryLength;
  if (!within(kernel.key_length, keys)) return kKeyLength;
  if (!within(kernel.batch_heads, q.size[0] * q.size[1])) return kBatchHeads;
  if (q.stride[3] != 1 || k.stride[3] != 1 || v.stride[3] != 1) return kStride;
  return kTaken;
}

// Starts the kernel of a row; false where it declines. The caller has set the device and allocated the output.
bool run(Row &row, Attention &problem, const Inputs &inputs) {
  const Operand &q = inputs.q;
  const int code = start(row.kernel.launcher, problem, problem.workspace, q.device_type, q.device_index);
  if (code == kLauncherDeclines) return false;
  require(code == 0, "the kernel failed with code ", code, " on q of ", q.size[0], " x ", q.size[1], " x ", q.size[2],
          " x ", q.size[3], ", k of ", inputs.keys(), " rows");
  row.calls.fetch_add(1, std::memory_order_relaxed);
  return true;
}

}  // namespace
