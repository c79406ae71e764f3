// The rows of a package's table: its kernels in the order in which they are asked, and how often each has computed.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace {

template <class Kernel>
struct KernelRow {
  Kernel kernel;
  std::atomic<int64_t> calls{0};
};

// Rows are only added, one thread at a time, while others may read those that are counted already.
template <class Kernel>
class Table {
 public:
  std::atomic<int64_t> other_calls{0};  // which no kernel has computed

  size_t size() const { return size_.load(std::memory_order_acquire); }
  KernelRow<Kernel> &operator[](size_t row) { return rows_[row]; }

  // Whether there was room for another row.
  bool add(const Kernel &kernel) {
    const size_t row = size();
    if (row == kMostRows) return false;
    rows_[row].kernel = kernel;
    size_.store(row + 1, std::memory_order_release);
    return true;
  }

  // How often a row's kernel has computed; of row -1, none of them.
  int64_t calls_of(int64_t row) { return row < 0 ? other_calls.load() : rows_[row].calls.load(); }

 private:
  static constexpr size_t kMostRows = 64;
  KernelRow<Kernel> rows_[kMostRows];
  std::atomic<size_t> size_{0};
};

}  // namespace
