// The table of this package's kernels, and how one of them is asked.
//
// binding.cpp has said what the operator takes: kInputs and kOutputs tensors, kNumbers numbers and kTexts texts.
#pragma once
#include <atomic>
#include <cstring>
#include <optional>
#include <vector>

#include "arguments.h"
#include "launch.h"
#include "rows.h"

constexpr int kTensors = kInputs + kOutputs;
constexpr int kMostDims = EVOFLASH_MAX_RANK;
constexpr int kMostSizes = 16;  // that have names

// A member that is no tensor.
union Number {
  double real;
  int64_t whole;
  void *pointer;
};

// The struct of the kernels' sources: the inputs, the outputs, the numbers, and last the workspace.
struct Problem {
  EvoflashTensor tensors[kTensors];
  Number numbers[kNumbers + 1];
};

// A size of a tensor: (product of named sizes * times + plus) / over, rounded down.
struct Formula {
  int32_t of[2];  // numbers of named sizes; -1 is none
  int64_t times, plus, over;
  int32_t is_whole;  // whether other sizes than those that are divisible are not taken
};

struct Form {
  int32_t dtype;  // in PyTorch's numbers
  int32_t rank;
  Formula size[kMostDims];
};

// A row of the table: a kernel, and what it is asked for.
struct Kernel {
  Launcher<Problem> launcher;
  int32_t device_type;
  uint64_t devices;  // a bit for each device that runs the machine code
  Form tensors[kTensors];
  Range sizes[kMostSizes];
  int32_t is_fixed[kNumbers + 1];  // whether a number must have its value
  Number numbers[kNumbers + 1];
  const char *texts[kTexts + 1];
};

// Why a kernel does not take a call. Python has the words, in this order; `place` says where.
enum Reason : int64_t { kTaken, kDevice, kDtype, kRank, kSize, kRange, kEmpty, kNumber, kText, kDeclined };

struct Answer {
  Reason reason;
  int64_t place = 0, axis = 0;

  int64_t number() const { return (int64_t(reason) * 256 + place) * 256 + axis; }
};

namespace {

Table<Kernel> table;

// The arguments of a call.
struct Call {
  Operand inputs[kInputs];
  Number numbers[kNumbers + 1];
  const char *texts[kTexts + 1];
};

// The named sizes of a call, as far as they are known: -1 before that.
struct Sizes {
  int64_t value[kMostSizes];

  Sizes() {
    for (int64_t &each : value) each = -1;
  }

  // -1 for a size that this kernel does not take.
  int64_t of(const Formula &formula) const {
    int64_t product = 1;
    for (const int32_t name : formula.of)
      if (name >= 0) product *= value[name];
    const int64_t sum = (formula.of[0] >= 0 ? product * formula.times : 0) + formula.plus;
    return sum < 0 || (formula.is_whole && sum % formula.over != 0) ? -1 : sum / formula.over;
  }

  // Gives a name to a size that has none yet, if the formula is a name; then, whether the size is the formula's.
  bool take(const Formula &formula, int64_t size) {
    const bool is_name = formula.of[0] >= 0 && formula.of[1] < 0 && formula.times == 1 && formula.plus == 0;
    if (is_name && formula.over == 1 && value[formula.of[0]] < 0) value[formula.of[0]] = size;
    return of(formula) == size;
  }
};

// Whether the table asks a kernel, which may still decline; gives the sizes their names.
Answer ask(const Kernel &kernel, const Call &call, Sizes &sizes) {
  int32_t device_index = 0;
  for (int place = 0; place < kInputs; ++place) {
    const Operand &input = call.inputs[place];
    const Form &form = kernel.tensors[place];
    if (place == 0) device_index = input.device_index;
    const bool is_here = input.device_type == kernel.device_type && input.device_index == device_index;
    if (!is_here || !runs_on(kernel.devices, device_index)) return {kDevice, place};
    if (input.dtype != form.dtype) return {kDtype, place};
    if (input.dims != form.rank) return {kRank, place};
    if (input.is_empty()) return {kEmpty, place};
    for (int axis = 0; axis < form.rank; ++axis)
      if (!sizes.take(form.size[axis], input.size[axis])) return {kSize, place, axis};
  }
  for (int name = 0; name < kMostSizes; ++name)
    if (sizes.value[name] >= 0 && !within(kernel.sizes[name], sizes.value[name])) return {kRange, name};
  for (int place = 0; place < kNumbers; ++place)
    if (kernel.is_fixed[place] && kernel.numbers[place].whole != call.numbers[place].whole) return {kNumber, place};
  for (int place = 0; place < kTexts; ++place)
    if (std::strcmp(kernel.texts[place], call.texts[place]) != 0) return {kText, place};
  for (int place = kInputs; place < kTensors; ++place)
    for (int axis = 0; axis < kernel.tensors[place].rank; ++axis)
      if (sizes.of(kernel.tensors[place].size[axis]) <= 0) return {kSize, place, axis};
  return {kTaken};
}

// The struct for a kernel that was asked for its sizes; nothing after an error of `output`.
//
// output: makes an output of its own, given its place among them, its form, sizes and strides.
template <class Output>
std::optional<Problem> problem_of(const Kernel &kernel, const Call &call, const Sizes &sizes, const Output &output) {
  std::optional<Problem> problem{Problem{}};
  for (int place = 0; place < kInputs; ++place) set(problem->tensors[place], call.inputs[place]);
  for (int place = kInputs; place < kTensors; ++place) {
    const Form &form = kernel.tensors[place];
    int64_t size[kMostDims], stride[kMostDims], step = 1;
    for (int axis = form.rank - 1; axis >= 0; --axis) {
      size[axis] = sizes.of(form.size[axis]), stride[axis] = step;
      step *= size[axis];
    }
    const std::optional<Operand> made = output(place - kInputs, form, size, stride);
    if (!made) return std::nullopt;
    set(problem->tensors[place], *made);
  }
  for (int place = 0; place < kNumbers; ++place) problem->numbers[place] = call.numbers[place];
  return problem;
}

// Whether a kernel has computed; not where its launcher declines.
bool compute(const Kernel &kernel, const Call &call, Problem &problem) {
  const Operand &first = call.inputs[0];
  const int code =
      start(kernel.launcher, problem, problem.numbers[kNumbers].pointer, first.device_type, first.device_index);
  require(code == 0 || code == kLauncherDeclines, "the kernel failed with code ", code);
  return code == 0;
}

// The outputs of a kernel that was asked for its sizes; nothing where its launcher declines.
std::optional<std::vector<Tensor>> computed(const Kernel &kernel, const Call &call, const Sizes &sizes) {
  const Operand &first = call.inputs[0];
#ifdef USE_CUDA
  const DeviceGuard guard(first.device_index);
#endif
  std::vector<Tensor> outputs;
  const auto output = [&](int, const Form &form, const int64_t *size, const int64_t *stride) {
    outputs.push_back(empty(form.rank, size, stride, form.dtype, first.device_type, first.device_index));
    return std::optional<Operand>(operand(outputs.back()));
  };
  std::optional<Problem> problem = problem_of(kernel, call, sizes, output);
  return problem && compute(kernel, call, *problem) ? std::optional(std::move(outputs)) : std::nullopt;
}

// The outputs by the first kernel that takes the call; nothing where none does.
std::optional<std::vector<Tensor>> by_a_kernel(const Call &call) {
  for (size_t i = 0, rows = table.size(); i < rows; ++i) {
    Sizes sizes;
    if (ask(table[i].kernel, call, sizes).reason != kTaken) continue;
    std::optional<std::vector<Tensor>> outputs = computed(table[i].kernel, call, sizes);
    if (!outputs) continue;
    table[i].calls.fetch_add(1, std::memory_order_relaxed);
    return outputs;
  }
  return std::nullopt;
}

// Why the kernel of a row does not take a call. Its launcher is asked by computing, into outputs that are dropped, and
// of what it updates in place into copies that Python gives.
int64_t why_refused(int64_t row, const Call &call) {
  require(0 <= row && size_t(row) < table.size(), "there is no kernel ", row);
  Sizes sizes;
  const Answer answer = ask(table[row].kernel, call, sizes);
  if (answer.reason != kTaken) return answer.number();
  return Answer{computed(table[row].kernel, call, sizes) ? kTaken : kDeclined}.number();
}

}  // namespace

extern "C" {

// For Python, under a lock: 0, or 1 where the table is full.
int add_kernel(const Kernel *kernel) { return table.add(*kernel) ? 0 : 1; }

// How often a row's kernel has computed; of row -1, the reference.
int64_t calls_of(int64_t row) { return table.calls_of(row); }
}
