// The direct call: from Python to a kernel without PyTorch's dispatcher (eager.h).
#pragma once
#include "eager.h"
#include "table.h"

namespace {

constexpr Py_ssize_t kArgumentCount = sizeof(kArguments) / sizeof(*kArguments);

// The Python objects of a direct call, kept for as long as the process lives.
struct Direct : Eager {
  // The output, or a tuple of none or several; None where the operator is to be asked.
  PyObject *call(PyObject *const *given) const {
    Call call{};
    PyObject *tensors[kInputs];
    int inputs = 0, numbers = 0, texts = 0;
    for (Py_ssize_t place = 0; place < kArgumentCount; ++place) {
      PyObject *const argument = given[place];
      bool is_taken = false;
      switch (kArguments[place]) {
        case Kind::kTensor:
          is_taken = is_tensor(argument);
          tensors[inputs++] = argument;
          break;
        case Kind::kReal:
          is_taken = PyFloat_Check(argument) || is_whole(argument);
          if (is_taken) call.numbers[numbers++].real = PyFloat_AsDouble(argument);
          break;
        case Kind::kWhole:
          is_taken = is_whole(argument);
          if (is_taken) call.numbers[numbers++].whole = PyLong_AsLongLong(argument);
          break;
        case Kind::kSwitch:
          is_taken = PyBool_Check(argument);
          call.numbers[numbers++].whole = argument == Py_True;
          break;
        case Kind::kText:
          is_taken = PyUnicode_Check(argument);
          call.texts[texts++] = is_taken ? PyUnicode_AsUTF8AndSize(argument, nullptr) : "";
          break;
        case Kind::kNone:
          is_taken = argument == Py_None;
          break;
      }
      if (!is_taken || PyErr_Occurred() != nullptr) return operators();  // also of a number that does not fit
    }
    for (int place = 0; place < kInputs; ++place) {
      const std::optional<Operand> found = operand(tensors[place]);
      if (!found) return operators();
      call.inputs[place] = *found;
    }
    if (is_autocast()) return operators();
    for (size_t i = 0, rows = table.size(); i < rows; ++i) {
      Sizes sizes;
      if (ask(table[i].kernel, call, sizes).reason != kTaken) continue;
      for (const Operand &each : call.inputs)
        if (each.data == nullptr) return operators();  // zeros of autograd that were never written
      if (!is_plain(tensors, tensors + kInputs)) return operators();
      if (PyObject *outputs = by(table[i], call, sizes)) return outputs;
      if (PyErr_Occurred() != nullptr) return nullptr;
    }
    return operators();
  }

  static bool is_whole(PyObject *number) { return PyLong_Check(number) && !PyBool_Check(number); }

  // The outputs of a kernel; null where it declines, or with an error.
  PyObject *by(KernelRow<Kernel> &row, const Call &call, const Sizes &sizes) const {
    Reference outputs(PyTuple_New(kOutputs));
#ifdef USE_CUDA
    const DeviceGuard guard(call.inputs[0].device_index);
#endif
    const auto output = [&](int place, const Form &form, const int64_t *size, const int64_t *stride) {
      PyObject *const made = empty(form.rank, size, stride, form.dtype);
      if (made == nullptr) return std::optional<Operand>();
      PyTuple_SetItem(outputs.get(), place, made);
      return operand(made);
    };
    std::optional<Problem> problem = problem_of(row.kernel, call, sizes, output);
    if (!problem || !has_computed(row.kernel, call, *problem)) return nullptr;
    row.calls.fetch_add(1, std::memory_order_relaxed);
    if (kOutputs != 1) return outputs.release();
    PyObject *const alone = PyTuple_GetItem(outputs.get(), 0);
    Py_INCREF(alone);
    return alone;
  }

  static bool has_computed(const Kernel &kernel, const Call &call, Problem &problem) {
    const WithoutLock other_threads_run;
    return compute(kernel, call, problem);
  }
};

PyObject *call_direct(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
  if (count != kArgumentCount) {
    PyErr_SetString(PyExc_TypeError, "all arguments are expected");
    return nullptr;
  }
  try {
    return static_cast<const Direct *>(PyCapsule_GetPointer(self, nullptr))->call(arguments);
  } catch (const std::exception &error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
    return nullptr;
  }
}

PyMethodDef direct_method = {"direct", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call_direct)),
                             METH_FASTCALL, nullptr};

}  // namespace

// The function direct(...) of all arguments, for Python, which has the GIL; null with an error.
//
// `objects` is what `Eager` is made of. None where PyTorch's DLPack is another one.
extern "C" PyObject *make_direct(PyObject *objects) {
  const std::optional<Eager> eager = Eager::of(objects);
  if (!eager) return PyErr_Occurred() != nullptr ? nullptr : Eager::operators();
  return function_with(&direct_method, new Direct{*eager});
}
