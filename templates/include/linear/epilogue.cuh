#pragma once

#include "fused_linear.h"
#include "linear/activation.cuh"
#include "numeric_types.cuh"
#include "pairs.cuh"

// From sums to the output: bias, activation and residual.
namespace evoflash::linear {

// A matrix of the problem. Rows lie a multiple of 16 bytes apart.
struct Rows {
  unsigned char *base;
  int64_t row_bytes;

#ifndef EVOFLASH_HOST_ONLY
  __device__ __forceinline__ unsigned char *at(int row, int column) const {
    return base + row * row_bytes + 2 * int64_t(column);
  }
#endif
};

struct EpilogueArguments {
  Rows residual, out;
  const unsigned char *bias;
};

#ifndef EVOFLASH_DEVICE_ONLY
namespace {

inline Rows make_rows(const EvoflashTensor &matrix) {
  return {static_cast<unsigned char *>(matrix.data), matrix.size[0] == 1 ? 0 : 2 * matrix.stride[0]};
}

inline EpilogueArguments make_epilogue_arguments(const FusedLinear &problem) {
  return {make_rows(problem.residual), make_rows(problem.out), static_cast<const unsigned char *>(problem.bias.data)};
}

}  // namespace
#endif

#ifndef EVOFLASH_HOST_ONLY
// Two neighbouring columns of a row, not yet rounded.
template <class Element, Activation kActivation>
__device__ __forceinline__ float2 finish_pair(float left, float right, unsigned bias, unsigned residual) {
  return make_float2(activate<kActivation>(left + low_to_float<Element>(bias)) + low_to_float<Element>(residual),
                     activate<kActivation>(right + high_to_float<Element>(bias)) + high_to_float<Element>(residual));
}

// Two columns' words.
__device__ __forceinline__ unsigned bias_word(const EpilogueArguments &args, int column) {
  return *reinterpret_cast<const unsigned *>(args.bias + 2 * int64_t(column));
}
__device__ __forceinline__ unsigned residual_word(const EpilogueArguments &args, int row, int column) {
  return *reinterpret_cast<const unsigned *>(args.residual.at(row, column));
}

// Eight neighbouring columns of a row, from their sums to memory.
template <class Element, Activation kActivation>
__device__ __forceinline__ void finish_8(const float (&sums)[8], const EpilogueArguments &args, int row, int column) {
  const uint4 biases = *reinterpret_cast<const uint4 *>(args.bias + 2 * int64_t(column));
  const uint4 residuals = *reinterpret_cast<const uint4 *>(args.residual.at(row, column));
  const unsigned bias[4] = {biases.x, biases.y, biases.z, biases.w};
  const unsigned residual[4] = {residuals.x, residuals.y, residuals.z, residuals.w};
  float values[8];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = finish_pair<Element, kActivation>(sums[2 * i], sums[2 * i + 1], bias[i], residual[i]);
    values[2 * i] = pair.x;
    values[2 * i + 1] = pair.y;
  }
  store_8<Element>(args.out.at(row, column), values);
}
#endif

}  // namespace evoflash::linear
