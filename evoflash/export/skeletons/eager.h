// What direct calls use of Python: how tensors are read, and when PyTorch's dispatcher has more to do.
//
// For plain tensors in eager mode the dispatcher, which costs more than many a kernel takes, has nothing to do but to
// find the kernel. What gives it more to do (modes, transforms, tracing, gradients, subclasses) is recognised, and left
// to the operators. The code keeps to CPython's limited API, to DLPack's C exchange API and to PyTorch's stable ABI.
#pragma once
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030a0000
#include <Python.h>

#include <exception>
#include <optional>

#include "pytorch.h"

// DLPack's structures, version 1.3, whose layout a major version keeps. PyTorch's copy of dlpack.h is not to be
// included beside its stable ABI.
struct DLDevice {
  int32_t device_type, device_id;
};

struct DLDataType {
  uint8_t code, bits;
  uint16_t lanes;
};

struct DLTensor {
  void *data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};

struct DLPackExchangeAPI {
  uint32_t major, minor;
  DLPackExchangeAPI *previous;
  void *unused[3];  // of tensors that are owned
  int (*dltensor_from_py_object_no_sync)(void *tensor, DLTensor *out);
};

namespace {

constexpr uint32_t kDLPackMajor = 1;
constexpr int32_t kDLCPU = 1, kDLCUDA = 2;
constexpr int kUnknownDtype = -1;

// An owned reference; null after an error, which Python then knows.
class Reference {
 public:
  explicit Reference(PyObject *object) : object_(object) {}
  ~Reference() { Py_XDECREF(object_); }
  Reference(const Reference &) = delete;
  Reference &operator=(const Reference &) = delete;

  PyObject *get() const { return object_; }
  PyObject *release() {
    PyObject *object = object_;
    object_ = nullptr;
    return object;
  }

 private:
  PyObject *object_;
};

// Lets other Python threads run: a kernel may take long, and so may a launch into a full queue.
class WithoutLock {
 public:
  WithoutLock() : state_(PyEval_SaveThread()) {}
  ~WithoutLock() { PyEval_RestoreThread(state_); }
  WithoutLock(const WithoutLock &) = delete;
  WithoutLock &operator=(const WithoutLock &) = delete;

 private:
  PyThreadState *state_;
};

// A dtype as PyTorch counts them (c10::ScalarType); kUnknownDtype for all that no kernel is made for.
int32_t number_of(DLDataType dtype) {
  switch (int(dtype.code) << 8 |
          dtype.bits) {  // DLPack's code: 0 int, 1 uint, 2 float, 4 bfloat, 6 bool, 10 and 12 float8
    case 0 << 8 | 8:
      return 1;
    case 0 << 8 | 16:
      return 2;
    case 0 << 8 | 32:
      return 3;
    case 0 << 8 | 64:
      return 4;
    case 1 << 8 | 8:
      return 0;
    case 2 << 8 | 16:
      return 5;
    case 2 << 8 | 32:
      return 6;
    case 2 << 8 | 64:
      return 7;
    case 4 << 8 | 16:
      return 15;
    case 6 << 8 | 8:
      return 11;
    case 10 << 8 | 8:
      return 24;
    case 12 << 8 | 8:
      return 23;
    default:
      return kUnknownDtype;
  }
}

// The Python objects of a direct call, kept for as long as the process lives.
struct Eager {
  const DLPackExchangeAPI *exchange;
  PyObject *tensor_type, *parameter_type;
  PyObject *empty_strided;  // of sizes, strides and dtype, on the current device
  PyObject *dtypes;         // by PyTorch's numbers
  PyObject *is_autocast_enabled, *is_grad_enabled;
  PyObject *guards;      // functions, one of which returns something true where the dispatcher has more to do
  PyObject *forward_ad;  // the variables of torch.autograd.forward_ad
  PyObject *is_neg;      // of a tensor
  PyObject *requires_grad, *level;  // interned strings

  // Of a tuple: torch.Tensor.__dlpack_c_exchange_api__, then the members in their order. Nothing, with or without an
  // error, where PyTorch's DLPack is another one.
  static std::optional<Eager> of(PyObject *objects) {
    PyObject *kept[10];
    if (!PyTuple_Check(objects) || PyTuple_Size(objects) != 10) {
      PyErr_SetString(PyExc_TypeError, "ten objects are expected");
      return std::nullopt;
    }
    for (int place = 0; place < 10; ++place) kept[place] = PyTuple_GetItem(objects, place);
    const auto *api = static_cast<const DLPackExchangeAPI *>(PyCapsule_GetPointer(kept[0], "dlpack_exchange_api"));
    if (api == nullptr || api->major != kDLPackMajor || api->dltensor_from_py_object_no_sync == nullptr)
      return std::nullopt;
    Py_INCREF(objects);
    return Eager{api,
                 kept[1],
                 kept[2],
                 kept[3],
                 kept[4],
                 kept[5],
                 kept[6],
                 kept[7],
                 kept[8],
                 kept[9],
                 PyUnicode_InternFromString("requires_grad"),
                 PyUnicode_InternFromString("_current_level")};
  }

  // A parameter is a tensor without behaviour of its own; other subclasses may have some.
  bool is_tensor(PyObject *object) const {
    PyObject *const type = reinterpret_cast<PyObject *>(Py_TYPE(object));
    return type == tensor_type || type == parameter_type;
  }

  // Nothing for a tensor that DLPack cannot describe.
  std::optional<Operand> operand(PyObject *tensor) const {
    DLTensor found;
    if (exchange->dltensor_from_py_object_no_sync(tensor, &found) != 0) return std::nullopt;
    const auto [device_type, device_index] = found.device;
    if (found.strides == nullptr || (device_type != kDLCPU && device_type != kDLCUDA)) return std::nullopt;
    const int32_t is_cuda = device_type == kDLCUDA;  // PyTorch's number of the device, too
    char *const data = static_cast<char *>(found.data) + found.byte_offset;
    return Operand{found.ndim, found.shape, found.strides, number_of(found.dtype), is_cuda, device_index, data};
  }

  bool is_autocast() const { return is_true(Reference(PyObject_CallNoArgs(is_autocast_enabled))); }

  // Whether the dispatcher would call the kernel and do nothing else.
  bool is_plain(PyObject *const *begin, PyObject *const *end) const {
    for (Py_ssize_t i = 0, size = PyTuple_Size(guards); i < size; ++i)
      if (is_true(Reference(PyObject_CallNoArgs(PyTuple_GetItem(guards, i))))) return false;
    if (is_forward_mode()) return false;
    for (PyObject *const *tensor = begin; tensor != end; ++tensor)
      // a view that is negated when it is read, of which DLPack says nothing
      if (is_true(Reference(PyObject_CallFunctionObjArgs(is_neg, *tensor, nullptr)))) return false;
    if (!is_true(Reference(PyObject_CallNoArgs(is_grad_enabled)))) return true;
    for (PyObject *const *tensor = begin; tensor != end; ++tensor)
      if (is_true(Reference(PyObject_GetAttr(*tensor, requires_grad)))) return false;
    return true;
  }

  bool is_forward_mode() const {
    PyObject *const current = PyDict_GetItem(forward_ad, level);
    return current == nullptr || PyLong_AsLong(current) >= 0;
  }

  // Also of an error, which is left to the operators: they meet it again.
  static bool is_true(const Reference &answer) { return answer.get() == nullptr || PyObject_IsTrue(answer.get()) != 0; }

  // Not written yet, with `dims` sizes and strides.
  PyObject *empty(int64_t dims, const int64_t *size, const int64_t *stride, int32_t number_of_dtype) const {
    const Reference sizes(numbers(dims, size)), strides(numbers(dims, stride));
    const Reference number(PyLong_FromLong(number_of_dtype));
    PyObject *dtype = PyDict_GetItem(dtypes, number.get());
    return PyObject_CallFunctionObjArgs(empty_strided, sizes.get(), strides.get(), dtype, nullptr);
  }

  static PyObject *numbers(int64_t count, const int64_t *values) {
    PyObject *tuple = PyTuple_New(count);
    for (int64_t i = 0; i < count; ++i) PyTuple_SetItem(tuple, i, PyLong_FromLongLong(values[i]));
    return tuple;
  }

  // None: the operators are to be asked.
  static PyObject *operators() {
    PyErr_Clear();
    Py_INCREF(Py_None);
    return Py_None;
  }
};

// A function for Python whose `self` is a capsule with a pointer.
PyObject *function_with(PyMethodDef *method, void *state) {
  const Reference capsule(PyCapsule_New(state, nullptr, nullptr));
  return capsule.get() != nullptr ? PyCFunction_NewEx(method, capsule.get(), nullptr) : nullptr;
}

}  // namespace
