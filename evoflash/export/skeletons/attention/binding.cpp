// The operators of this package, in C++: a call through Python and ctypes costs more than many a kernel.
//
// A call is computed by the first kernel of the table that takes its inputs, and by PyTorch's
// scaled_dot_product_attention (SDPA) where none does; what SDPA does not know is written out in Python. The code keeps
// to PyTorch's stable ABI, so one build of it serves every PyTorch from 2.10 on. For an older one it is built by ATen
// (pytorch.h).
//
//   g++ -DPACKAGE=<name of the package> [-DUSE_CUDA] [-DUSE_PYTHON] -DTORCH_TARGET_VERSION=0x020a000000000000 ...
//   g++ -DPACKAGE=<name of the package> [-DUSE_CUDA] -DUSE_ATEN -D_GLIBCXX_USE_CXX11_ABI=<as PyTorch was built> ...
#ifdef USE_PYTHON
#include "direct.h"
#endif
#include "pytorch.h"
#include "table.h"

#ifdef USE_CUDA
#include <dlfcn.h>
#endif

namespace {

std::optional<Operand> operand(const std::optional<Tensor> &tensor) {
  return tensor ? std::optional<Operand>(operand(*tensor)) : std::nullopt;
}

// The arguments of the operators, in the order of their schemas (_operators.py).
struct Call {
  const Tensor &q, &k, &v;
  bool causal;
  std::optional<double> scale;
  const std::optional<Tensor> &attn_mask;
  int64_t window_left, window_right;
  bool bottom_right;
  double softcap;
  const std::optional<Tensor> &alibi_slopes, &sinks, &lengths, &block_table;

  Terms terms() const {
    const Terms terms{operand(attn_mask), operand(alibi_slopes), operand(sinks), operand(lengths), operand(block_table),
                      window_left,        window_right,          bottom_right,   softcap};
    for (const std::optional<Operand> &each : {terms.slopes, terms.sinks})
      require(!each || (each->dtype == kFloat32 && each->dims == 1 && each->has_dense_rows()),
              "alibi_slopes and sinks must be contiguous float32 of one dimension");
    for (const std::optional<Operand> &each : {terms.lengths, terms.block_table})
      require(!each || (each->dtype == kInt32 && each->dims > 0 && each->has_dense_rows()),
              "lengths and block_table must be int32, with a last stride of 1");
    return terms;
  }

  bool is_plain(const Terms &terms) const { return !attn_mask && terms.is_mask_alone(); }

  Inputs inputs(const Terms &terms, bool enable_gqa) const {
    const Inputs inputs{operand(q), operand(k), operand(v), causal, scale, is_plain(terms) ? nullptr : &terms};
    require(inputs.fit(enable_gqa), "q, k and v do not fit together");
    return inputs;
  }

  Tensor by_pytorch(const Terms &terms, bool is_grouped) const {
    table.other_calls.fetch_add(1, std::memory_order_relaxed);
    const bool is_for_sdpa = terms.is_mask_alone() && !(attn_mask && (causal || is_grouped));
    if (is_for_sdpa) return call_sdpa(q, k, v, attn_mask, causal, scale, is_grouped);
    return call_reference(1, q, k, v, causal, scale, attn_mask, window_left, window_right, bottom_right, softcap,
                          alibi_slopes, sinks, lengths, block_table)[0];
  }
};

// The output of a kernel; nothing where it declines.
std::optional<Tensor> compute(Row &row, const Inputs &inputs) {
  const Operand &q = inputs.q;
  Attention problem = inputs.problem(row.kernel.features);
#ifdef USE_CUDA
  const DeviceGuard guard(q.device_index);
#endif
  Tensor out = empty(kDims, problem.out.size, problem.out.stride, q.dtype, q.device_type, q.device_index);
  problem.out.data = out.data_ptr();
  if (!run(row, problem, inputs)) return std::nullopt;
  return out;
}

Tensor attend(const Call &call, bool enable_gqa) {
  const Terms terms = call.terms();
  const Inputs inputs = call.inputs(terms, enable_gqa);
  for (size_t i = 0, rows = table.size(); i < rows; ++i) {
    if (reason(table[i].kernel, inputs) != kTaken) continue;
    if (std::optional<Tensor> out = compute(table[i], inputs)) return *std::move(out);
  }
  return call.by_pytorch(terms, inputs.q.size[1] != inputs.k.size[1]);
}

const std::optional<Tensor> kNoTensor;

Tensor laid_out_as(const Tensor &q, const Tensor &out) {
  if (q.stride(1) < q.stride(2)) {
    const Tensor by_position = transpose(out, 1, 2);
    return by_position.is_contiguous() ? out : transpose(contiguous(by_position), 1, 2);
  }
  return out.is_contiguous() ? out : contiguous(out);
}

// softmax(scale * q k^T) v, whose rows lie as those of q: compiled code relies on that, also of SDPA's outputs.
Tensor attention(const Tensor &q, const Tensor &k, const Tensor &v, bool causal, std::optional<double> scale) {
  return laid_out_as(
      q, attend({q, k, v, causal, scale, kNoTensor, -1, -1, false, 0.0, kNoTensor, kNoTensor, kNoTensor, kNoTensor},
                true));
}

// The same with what else is done to scores.
Tensor attention_with_terms(const Tensor &q, const Tensor &k, const Tensor &v, bool causal, std::optional<double> scale,
                            const std::optional<Tensor> &attn_mask, int64_t window_left, int64_t window_right,
                            bool bottom_right, double softcap, const std::optional<Tensor> &alibi_slopes,
                            const std::optional<Tensor> &sinks, const std::optional<Tensor> &lengths,
                            const std::optional<Tensor> &block_table) {
  return laid_out_as(q, attend({q, k, v, causal, scale, attn_mask, window_left, window_right, bottom_right, softcap,
                                alibi_slopes, sinks, lengths, block_table},
                               true));
}

// By the names and rules of SDPA, whose outputs have whatever layout is cheapest.
Tensor scaled_dot_product_attention(const Tensor &query, const Tensor &key, const Tensor &value, bool is_causal,
                                    std::optional<double> scale, bool enable_gqa) {
  return attend(
      {query, key, value, is_causal, scale, kNoTensor, -1, -1, false, 0.0, kNoTensor, kNoTensor, kNoTensor, kNoTensor},
      enable_gqa);
}

Tensor scaled_dot_product_attention_with_mask(const Tensor &query, const Tensor &key, const Tensor &value,
                                              bool is_causal, std::optional<double> scale, bool enable_gqa,
                                              const std::optional<Tensor> &attn_mask) {
  return attend(
      {query, key, value, is_causal, scale, attn_mask, -1, -1, false, 0.0, kNoTensor, kNoTensor, kNoTensor, kNoTensor},
      enable_gqa);
}

// What a function says of a row of the table and the inputs of a call, whose arguments are those of `Call`.
template <class Function, class... Arguments>
auto of_row(const Function &function, int64_t row, const Arguments &...arguments) {
  const Call call{arguments...};
  const Terms terms = call.terms();
  const Inputs inputs = call.inputs(terms, true);
  require(0 <= row && size_t(row) < table.size(), "there is no kernel ", row);
  return function(table[row], inputs);
}

// By the kernel of one row, and no other.
Tensor attention_by(const Tensor &q, const Tensor &k, const Tensor &v, bool causal, std::optional<double> scale,
                    const std::optional<Tensor> &attn_mask, int64_t window_left, int64_t window_right,
                    bool bottom_right, double softcap, const std::optional<Tensor> &alibi_slopes,
                    const std::optional<Tensor> &sinks, const std::optional<Tensor> &lengths,
                    const std::optional<Tensor> &block_table, int64_t row) {
  const auto compute_by = [row](Row &own, const Inputs &inputs) {
    require(reason(own.kernel, inputs) == kTaken, "kernel ", row, " does not take these inputs");
    std::optional<Tensor> out = compute(own, inputs);
    require(out.has_value(), "kernel ", row, " declines these inputs");
    return *std::move(out);
  };
  return of_row(compute_by, row, q, k, v, causal, scale, attn_mask, window_left, window_right, bottom_right, softcap,
                alibi_slopes, sinks, lengths, block_table);
}

#ifdef USE_CUDA
// A stream that records launches and runs none, by which a launcher is asked what it would do.
class RecordingStream {
 public:
  RecordingStream() : driver_(dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL)) {
    // Without it the launch would run, and write into q.
    const bool records = driver_ != nullptr && call<void **, unsigned>("cuStreamCreate", &stream_, kNonBlocking) == 0 &&
                         call<void *, int>("cuStreamBeginCapture_v2", stream_, kRelaxed) == 0;
    require(records, "the CUDA driver records no launches");
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
int64_t why_refused(const Row &row, const Inputs &inputs) {
  const Kernel &kernel = row.kernel;
  const Reason found = reason(kernel, inputs);
  if (found != kTaken) return found;
  Attention problem = inputs.problem(kernel.features);
  problem.out.data = problem.workspace = problem.q.data;  // as well aligned as an output
#ifdef USE_CUDA
  const DeviceGuard guard(inputs.q.device_index);
  const RecordingStream recording;
  const int code = kernel.launcher.launch(&problem, recording.get());
#else
  empty_batch(problem);
  const int code = kernel.launcher.launch(&problem, nullptr);
#endif
  return code == kLauncherDeclines ? kDeclined : kTaken;
}

int64_t refusal(const Tensor &q, const Tensor &k, const Tensor &v, bool causal, std::optional<double> scale,
                const std::optional<Tensor> &attn_mask, int64_t window_left, int64_t window_right, bool bottom_right,
                double softcap, const std::optional<Tensor> &alibi_slopes, const std::optional<Tensor> &sinks,
                const std::optional<Tensor> &lengths, const std::optional<Tensor> &block_table, int64_t row) {
  return of_row(why_refused, row, q, k, v, causal, scale, attn_mask, window_left, window_right, bottom_right, softcap,
                alibi_slopes, sinks, lengths, block_table);
}

}  // namespace

extern "C" {

// For Python, under a lock: 0, or 1 where the table is full.
int add_kernel(const Kernel *kernel) { return table.add(*kernel) ? 0 : 1; }

// How often a row's kernel has computed; of row -1, SDPA.
int64_t calls_of(int64_t row) { return table.calls_of(row); }
}

#define IMPLEMENT(library)                                                                              \
  library.impl("attention", OPERATOR(&attention));                                                      \
  library.impl("attention.terms", OPERATOR(&attention_with_terms));                                     \
  library.impl("scaled_dot_product_attention", OPERATOR(&scaled_dot_product_attention));                \
  library.impl("scaled_dot_product_attention.mask", OPERATOR(&scaled_dot_product_attention_with_mask)); \
  library.impl("attention_by", OPERATOR(&attention_by));                                                \
  library.impl("refusal", OPERATOR(&refusal));

// The schemas are Python's, which registers fake kernels with them (_operators.py).
OPERATORS(PACKAGE, CPU, library){IMPLEMENT(library)}
#ifdef USE_CUDA
OPERATORS(PACKAGE, CUDA, library) {
  IMPLEMENT(library)
}
#endif
