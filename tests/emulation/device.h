// A CUDA device for kernels that are compiled by the host's compiler: threads are contexts that take turns.
//
// The headers in include/ replace those that consist of PTX. Instructions of a warp are exchanges among its
// threads. Asynchronous copies take place at once, or late, when nobody can go on without them, by chance: a kernel
// that reads too early, or overwrites what is still read, gets wrong numbers. One warp after the other is kept back
// while the others can go on. A kernel that waits for what nobody does, or asks for what the device refuses, ends with
// the driver's error.
#pragma once

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __grid_constant__
#define __align__(bytes)
#define __shared__ static
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __CUDA_ARCH__ 900

using std::max;
using std::min;

struct uint2 {
  unsigned x, y;
};
struct uint4 {
  unsigned x, y, z, w;
};
struct float2 {
  float x, y;
};
struct float4 {
  float x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

template <class To, class From>
inline To bits_as(From from) {
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}
inline unsigned __float_as_uint(float value) { return bits_as<unsigned>(value); }
inline float __uint_as_float(unsigned value) { return bits_as<float>(value); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned places) {
  const unsigned long long bytes = low | (unsigned long long)high << 32;
  unsigned found = 0;
  for (int i = 0; i < 4; ++i) found |= unsigned(bytes >> 8 * (places >> 4 * i & 7) & 0xff) << 8 * i;
  return found;
}
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline int __float2int_rn(float x) { return x != x ? 0 : int(nearbyintf(x)); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((unsigned long long)a * b >> 32); }

namespace emulation {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

struct Barrier {
  int count = 0, generation = 0;
};

struct Warp {
  Barrier barrier;
  unsigned char exchange[2][32][64];
};

struct Block {
  Index index;
  unsigned char *shared;
  Barrier barrier, named_barriers[16];
  std::vector<Warp> warps;
};

struct Thread {
  Index index;
  Block *block;
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool is_done = false;
  int exchanges = 0, cluster_phase = 0;
  std::deque<std::vector<std::function<void()>>> groups;  // of copies that have not taken place
  std::vector<std::function<void()>> open_group;
  std::deque<std::vector<std::function<void()>>> stores;  // of TMA, that have not read shared memory
  std::vector<std::function<void()>> open_store;
  std::deque<std::vector<std::function<void()>>> batches;  // of a warpgroup's products, this thread's part
  std::vector<std::function<void()>> open_batch;
};

struct Device {
  Index grid;
  int threads = 0, cluster = 1;
  size_t shared_bytes = 0;
  std::vector<Block> blocks;  // of the cluster that runs
  std::vector<Thread> contexts;
  Barrier cluster_barrier;
  std::deque<std::function<void()>> late;  // transfers of TMA, and to other blocks
  unsigned chance = 0;
  bool has_advanced = false;  // whether any thread has ended or passed a wait in this round
  int error = 0;              // of the launch, a CUresult
  Thread *current = nullptr;
  ucontext_t scheduler;
  std::function<void()> kernel;
};
inline Device device;

inline void yield() { swapcontext(&device.current->context, &device.scheduler); }

// Lets other threads run until it is so.
template <class Condition>
inline void wait_until(const Condition &is_so) {
  while (!is_so()) yield();
  device.has_advanced = true;
}

// What the device refuses ends the launch with an error, once its threads have ended.
constexpr int kIllegalInstruction = 715, kTimeout = 702;  // CUDA_ERROR_ILLEGAL_INSTRUCTION, CUDA_ERROR_LAUNCH_TIMEOUT
inline void fail(int error) {
  if (device.error == 0) device.error = error;
}

inline void arrive(Barrier &barrier, int expected) {
  if (++barrier.count == expected) {
    barrier.count = 0;
    ++barrier.generation;
  }
}

inline void sync(Barrier &barrier, int expected) {
  const int generation = barrier.generation;
  arrive(barrier, expected);
  wait_until([&] { return barrier.generation != generation; });
}

inline Warp &warp() { return device.current->block->warps[device.current->index.x / 32]; }

// What each lane gives, in a buffer that stays until the next exchange but one.
template <class Value>
inline const unsigned char (&exchange(const Value &value))[32][64] {
  static_assert(sizeof(value) <= 64);
  auto &buffer = warp().exchange[device.current->exchanges++ % 2];
  memcpy(buffer[device.current->index.x % 32], &value, sizeof(value));
  sync(warp().barrier, 32);
  return buffer;
}

template <class Value>
inline Value from_lane(const unsigned char (&buffer)[32][64], int lane) {
  Value value;
  memcpy(&value, buffer[lane], sizeof(value));
  return value;
}

// Shared memory lies below 4 GiB, so that an address is a pointer.
inline unsigned address_of(const void *shared) { return unsigned(reinterpret_cast<uintptr_t>(shared)); }
inline unsigned char *pointer_of(unsigned address) { return reinterpret_cast<unsigned char *>(uintptr_t(address)); }

// The same for every run of a kernel in a process of its own.
inline bool happens_once_in(unsigned times) {
  device.chance = device.chance * 1664525 + 1013904223;
  return (device.chance >> 16) % times == 0;
}

inline void transfer(std::function<void()> what) {
  if (happens_once_in(3)) return what();
  device.late.push_back(std::move(what));
}

// The first late transfer takes place, if there is any.
inline bool deliver() {
  if (device.late.empty()) return false;
  const auto what = std::move(device.late.front());
  device.late.pop_front();
  what();
  return true;
}

inline void enter() {
  device.kernel();
  device.current->is_done = device.has_advanced = true;
  yield();
}

// Lets each thread run until it waits, but for those of one warp. False if all have ended.
inline bool run_round(int warp_kept_back) {
  bool is_running = false;
  for (int i = 0; i < int(device.contexts.size()); ++i) {
    Thread &thread = device.contexts[i];
    if (thread.is_done) continue;
    is_running = true;
    if (i / 32 == warp_kept_back) continue;
    device.current = &thread;
    swapcontext(&device.scheduler, &thread.context);
  }
  return is_running;
}

inline void run_cluster(Index first) {
  constexpr size_t kStackBytes = 256 << 10;
  device.blocks = std::vector<Block>(device.cluster);
  device.contexts = std::vector<Thread>(device.cluster * device.threads);
  device.cluster_barrier = {};
  const size_t bytes = (device.shared_bytes + 4095) / 4096 * 4096 + 4096;
  for (int rank = 0; rank < device.cluster; ++rank) {
    Block &block = device.blocks[rank];
    block.index = first;
    block.index.x += rank;
    block.warps = std::vector<Warp>(device.threads / 32);
    void *const shared = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (shared == MAP_FAILED) abort();
    block.shared = static_cast<unsigned char *>(shared);
    memset(block.shared, 0xff, bytes);  // NaN
    for (int i = 0; i < device.threads; ++i) {
      Thread &thread = device.contexts[rank * device.threads + i];
      thread.index.x = i;
      thread.block = &block;
      thread.stack.reset(new char[kStackBytes]);
      getcontext(&thread.context);
      thread.context.uc_stack.ss_sp = thread.stack.get();
      thread.context.uc_stack.ss_size = kStackBytes;
      thread.context.uc_link = nullptr;
      makecontext(&thread.context, enter, 0);
    }
  }
  constexpr int kNobody = -1;
  const int warps = (int(device.contexts.size()) + 31) / 32;
  int next = 0, kept_back = kNobody;
  device.has_advanced = true;
  while (run_round(kept_back)) {
    const bool has_advanced = device.has_advanced;
    device.has_advanced = false;
    if (has_advanced && kept_back != kNobody) continue;
    if (has_advanced) {
      kept_back = next;
      next = (next + 1) % warps;
    } else if (kept_back != kNobody) {
      kept_back = kNobody;
    } else if (!deliver()) {
      fail(kTimeout);
      break;
    }
  }
  while (deliver()) {
  }
  for (Block &block : device.blocks) munmap(block.shared, bytes);
}

inline int run(const unsigned (&grid)[3], unsigned threads, size_t shared_bytes, unsigned cluster,
               std::function<void()> kernel) {
  device.grid = {grid[0], grid[1], grid[2]};
  device.threads = int(threads);
  device.cluster = int(cluster);
  device.shared_bytes = shared_bytes;
  device.kernel = std::move(kernel);
  for (unsigned z = 0; z < grid[2]; ++z)
    for (unsigned y = 0; y < grid[1]; ++y)
      for (unsigned x = 0; x < grid[0] && device.error == 0; x += cluster) run_cluster({x, y, z});
  return std::exchange(device.error, 0);
}

}  // namespace emulation

#define threadIdx (emulation::device.current->index)
#define blockIdx (emulation::device.current->block->index)
#define gridDim (emulation::device.grid)

inline void __syncwarp() { emulation::sync(emulation::warp().barrier, 32); }
inline void __syncthreads() { emulation::sync(emulation::device.current->block->barrier, emulation::device.threads); }

template <class Value>
inline Value __shfl_xor_sync(unsigned, Value value, int mask) {
  return emulation::from_lane<Value>(emulation::exchange(value), (threadIdx.x % 32) ^ mask);
}

template <class Value>
inline Value __shfl_sync(unsigned, Value value, int lane) {
  return emulation::from_lane<Value>(emulation::exchange(value), lane % 32);
}

// Lanes without a lane so far below them keep their own.
template <class Value>
inline Value __shfl_up_sync(unsigned, Value value, int distance) {
  const int lane = threadIdx.x % 32;
  return emulation::from_lane<Value>(emulation::exchange(value), lane < distance ? lane : lane - distance);
}

inline unsigned __ballot_sync(unsigned, bool pred) {
  const auto &given = emulation::exchange(pred);
  unsigned bits = 0;
  for (int lane = 0; lane < 32; ++lane) bits |= unsigned(emulation::from_lane<bool>(given, lane)) << lane;
  return bits;
}

inline int __reduce_add_sync(unsigned, int value) {
  const auto &given = emulation::exchange(value);
  int sum = 0;
  for (int lane = 0; lane < 32; ++lane) sum += emulation::from_lane<int>(given, lane);
  return sum;
}

inline int __reduce_max_sync(unsigned, int value) {
  const auto &given = emulation::exchange(value);
  int largest = value;
  for (int lane = 0; lane < 32; ++lane) largest = max(largest, emulation::from_lane<int>(given, lane));
  return largest;
}

inline int __ffs(unsigned bits) { return __builtin_ffs(int(bits)); }

inline bool __any_sync(unsigned, bool pred) {
  const auto &given = emulation::exchange(pred);
  bool any = false;
  for (int lane = 0; lane < 32; ++lane) any |= emulation::from_lane<bool>(given, lane);
  return any;
}

inline int atomicAdd(int *at, int value) {
  const int before = *at;
  *at += value;
  return before;
}

namespace emulation {

template <class... Parameters, size_t... kIndices>
inline void call(void (*kernel)(Parameters...), void **arguments, std::index_sequence<kIndices...>) {
  kernel(*static_cast<std::remove_reference_t<Parameters> *>(arguments[kIndices])...);
}
template <class... Parameters>
inline void call(void (*kernel)(Parameters...), void **arguments) {
  call(kernel, arguments, std::index_sequence_for<Parameters...>());
}

}  // namespace emulation

// A kernel as the driver launches it.
#define EMULATED_KERNEL(name)                                                                                   \
  extern "C" int run_##name(const unsigned (&grid)[3], unsigned threads, size_t shared_bytes, unsigned cluster, \
                            void **arguments) {                                                                 \
    return emulation::run(grid, threads, shared_bytes, cluster, [=] { emulation::call(name, arguments); });     \
  }
