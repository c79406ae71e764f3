// The direct call: from Python to a kernel without PyTorch's dispatcher (eager.h).
#pragma once
#include "eager.h"
#include "table.h"

namespace {

// The arguments of a direct call, in this order; those after `kGrouped` may be left out.
enum Argument : Py_ssize_t {
  kQ,
  kK,
  kV,
  kIsCausal,
  kScale,
  kGrouped,
  kAttnMask,
  kWindowSize,
  kAlign,
  kCap,
  kAlibiSlopes,
  kSinkLogits,
  kKeyLengths,
  kBlockTable,
  kRow,  // of the table: its kernel computes, and no other
  kMostArguments,
};
constexpr Py_ssize_t kLeastArguments = kAttnMask;

struct Arguments {
  PyObject *const *given;
  Py_ssize_t count;

  PyObject *operator[](Argument place) const { return place < count ? given[place] : Py_None; }
};

// The tensors of a call: q, k and v, then what else there is.
struct Tensors {
  PyObject *of[8];
  int count;

  PyObject *const *begin() const { return of; }
  PyObject *const *end() const { return of + count; }
};

// The Python objects of a direct call, kept for as long as the process lives.
struct Direct : Eager {
  PyObject *sdpa,
      *laid_out;  // the latter of q and an output of SDPA; None for the drop-in, of which any layout is right
  PyObject *scale, *enable_gqa, *top_left, *bottom_right;  // interned strings

  // The output; None where the operators are to be asked. The kernel of `row` computes, or the first that takes the
  // inputs.
  PyObject *call(const Arguments &given, std::optional<size_t> row) const {
    PyObject *const causal = given[kIsCausal], *const factor = given[kScale], *const grouped = given[kGrouped];
    Tensors tensors{{given[kQ], given[kK], given[kV]}, 3};
    const bool has_terms = !is_plain_attention(given);
    if (has_terms)
      for (const Argument each : {kAttnMask, kAlibiSlopes, kSinkLogits, kKeyLengths, kBlockTable})
        if (given[each] != Py_None) tensors.of[tensors.count++] = given[each];
    for (PyObject *tensor : tensors)
      if (!is_tensor(tensor)) return operators();
    const bool has_scale = factor != Py_None;
    if (!PyBool_Check(causal) || !PyBool_Check(grouped) || (has_scale && !PyFloat_Check(factor))) return operators();
    const std::optional<Operand> q = operand(given[kQ]), k = operand(given[kK]), v = operand(given[kV]);
    if (!q || !k || !v || is_autocast()) return operators();
    Inputs inputs{*q, *k, *v, causal == Py_True, std::nullopt};
    if (has_scale) inputs.scale = PyFloat_AsDouble(factor);
    std::optional<Terms> terms;
    if (has_terms) {
      terms = terms_of(given);
      if (!terms || (laid_out == Py_None && inputs.causal)) return operators();  // SDPA takes no mask beside is_causal
      inputs.terms = &*terms;
    }
    if (!inputs.fit(grouped == Py_True)) return operators();
    for (size_t i = 0, rows = table.size(); i < rows; ++i) {
      if (row.value_or(i) != i || reason(table[i].kernel, inputs) != kTaken) continue;
      if (!q->data || !k->data || !v->data) return operators();  // zeros of autograd that were never written
      if (terms && terms->mask && !terms->mask->data) return operators();
      if (!is_plain(tensors.begin(), tensors.end())) return operators();
      if (PyObject *out = compute(table[i], inputs)) return out;
      if (PyErr_Occurred() != nullptr) return nullptr;
    }
    const bool is_grouped = inputs.q.size[1] != inputs.k.size[1];
    const bool is_for_sdpa =
        !terms || (terms->is_mask_alone() && !inputs.causal && (laid_out == Py_None || !is_grouped));
    return row || !is_for_sdpa ? operators() : by_sdpa(given, inputs);
  }

  // What SDPA makes of inputs that no kernel takes: it can do more than the operators.
  PyObject *by_sdpa(const Arguments &given, const Inputs &inputs) const {
    table.other_calls.fetch_add(1, std::memory_order_relaxed);
    PyObject *const factor = given[kScale];
    const Reference no_dropout(PyFloat_FromDouble(0.0));
    const Reference positional(
        PyTuple_Pack(6, given[kQ], given[kK], given[kV], given[kAttnMask], no_dropout.get(), given[kIsCausal]));
    const bool is_grouped = inputs.q.size[1] != inputs.k.size[1];
    const Reference named(factor != Py_None || is_grouped ? PyDict_New() : nullptr);
    if (factor != Py_None) PyDict_SetItem(named.get(), scale, factor);
    if (is_grouped) PyDict_SetItem(named.get(), enable_gqa, Py_True);
    Reference out(PyObject_Call(sdpa, positional.get(), named.get()));
    if (out.get() == nullptr || laid_out == Py_None) return out.release();
    const std::optional<Operand> written = operand(out.get());
    if (written && is_laid_out(*written, inputs)) return out.release();
    PyErr_Clear();
    return PyObject_CallFunctionObjArgs(laid_out, given[kQ], out.get(), nullptr);
  }

  // Whether what is given beside scale and causal mask are the defaults.
  bool is_plain_attention(const Arguments &given) const {
    for (const Argument each : {kAttnMask, kWindowSize, kAlibiSlopes, kSinkLogits, kKeyLengths, kBlockTable})
      if (given[each] != Py_None) return false;
    return (given.count <= kAlign || given[kAlign] == top_left || given[kAlign] == Py_None) && !has_cap(given);
  }

  static bool has_cap(const Arguments &given) {
    PyObject *const cap = given[kCap];
    return cap != Py_None && !(PyFloat_Check(cap) && PyFloat_AsDouble(cap) == 0.0);
  }

  // Nothing for what Python has to convert, or to refuse.
  std::optional<Terms> terms_of(const Arguments &given) const {
    Terms terms{{}, {}, {}, {}, {}, -1, -1, given[kAlign] == bottom_right, 0.0};
    if (!terms.bottom_right && given[kAlign] != top_left && given[kAlign] != Py_None) return std::nullopt;
    if (has_cap(given)) {
      if (!PyFloat_Check(given[kCap])) return std::nullopt;
      terms.softcap = PyFloat_AsDouble(given[kCap]);
      if (!(terms.softcap > 0) || std::isinf(terms.softcap)) return std::nullopt;
    }
    if (given[kWindowSize] != Py_None && !read_window(given[kWindowSize], terms)) return std::nullopt;
    if (given[kAttnMask] != Py_None && !(terms.mask = operand(given[kAttnMask]))) return std::nullopt;
    if (given[kAlibiSlopes] != Py_None && !(terms.slopes = logits(given[kAlibiSlopes]))) return std::nullopt;
    if (given[kSinkLogits] != Py_None && !(terms.sinks = logits(given[kSinkLogits]))) return std::nullopt;
    if (given[kKeyLengths] != Py_None && !(terms.lengths = indices(given[kKeyLengths]))) return std::nullopt;
    if (given[kBlockTable] != Py_None && !(terms.block_table = indices(given[kBlockTable]))) return std::nullopt;
    return terms;
  }

  static bool read_window(PyObject *window, Terms &terms) {
    if (!PyTuple_Check(window) || PyTuple_Size(window) != 2) return false;
    for (int side = 0; side < 2; ++side) {
      PyObject *const given = PyTuple_GetItem(window, side);
      if (given == Py_None) continue;
      if (!PyLong_Check(given)) return false;
      const long long keys = PyLong_AsLongLong(given);
      if (keys < -1) return false;  // also of one that does not fit
      (side == 0 ? terms.window_left : terms.window_right) = keys;
    }
    return true;
  }

  // A number for each head, as kernels read them.
  std::optional<Operand> logits(PyObject *tensor) const {
    const std::optional<Operand> found = operand(tensor);
    const bool is_read =
        found && found->data && found->dtype == kFloat32 && found->dims == 1 && found->has_dense_rows();
    return is_read ? found : std::nullopt;
  }

  // Lengths or pages of each sequence, as kernels read them.
  std::optional<Operand> indices(PyObject *tensor) const {
    const std::optional<Operand> found = operand(tensor);
    const bool is_read = found && found->data && found->dtype == kInt32 && found->dims > 0 && found->has_dense_rows();
    return is_read ? found : std::nullopt;
  }

  // Whether an output lies as those of the operator `attention`.
  static bool is_laid_out(const Operand &out, const Inputs &inputs) {
    int64_t stride[3];
    inputs.out_strides(stride);
    for (int i = 0; i < 3; ++i)
      if (out.size[i] != 1 && out.stride[i] != stride[i]) return false;
    return out.stride[3] == 1;
  }

  // The output of a kernel; null where it declines, or with an error.
  PyObject *compute(Row &row, const Inputs &inputs) const {
    Attention problem = inputs.problem(row.kernel.features);
#ifdef USE_CUDA
    const DeviceGuard guard(inputs.q.device_index);
#endif
    Reference out(empty(kDims, problem.out.size, problem.out.stride, inputs.q.dtype));
    const std::optional<Operand> written = out.get() != nullptr ? operand(out.get()) : std::nullopt;
    if (!written) return nullptr;
    problem.out.data = written->data;
    const WithoutLock other_threads_run;
    return run(row, problem, inputs) ? out.release() : nullptr;
  }
};

PyObject *call_direct(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
  if (count < kLeastArguments || count > kMostArguments) {
    PyErr_SetString(PyExc_TypeError, "q, k, v, causal, scale, grouped are expected, and what goes with them");
    return nullptr;
  }
  std::optional<size_t> row;
  if (count == kMostArguments) row = PyLong_AsSize_t(arguments[kRow]);
  if (PyErr_Occurred() != nullptr) return nullptr;
  try {
    return static_cast<const Direct *>(PyCapsule_GetPointer(self, nullptr))->call({arguments, count}, row);
  } catch (const std::exception &error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
    return nullptr;
  }
}

PyMethodDef direct_method = {"direct", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call_direct)),
                             METH_FASTCALL, nullptr};

}  // namespace

// The function direct(q, k, v, causal, scale, grouped, ...), by `Argument`, for Python, which has the GIL; null with an
// error.
//
// `objects` is what `Eager` is made of; the others are members of `Direct`. None where PyTorch's DLPack is another one.
extern "C" PyObject *make_direct(PyObject *objects, PyObject *sdpa, PyObject *laid_out) {
  const std::optional<Eager> eager = Eager::of(objects);
  if (!eager) return PyErr_Occurred() != nullptr ? nullptr : Eager::operators();
  Py_INCREF(sdpa);
  Py_INCREF(laid_out);
  auto *direct = new Direct{*eager,
                            sdpa,
                            laid_out,
                            PyUnicode_InternFromString("scale"),
                            PyUnicode_InternFromString("enable_gqa"),
                            PyUnicode_InternFromString("top_left"),
                            PyUnicode_InternFromString("bottom_right")};
  return function_with(&direct_method, direct);
}
