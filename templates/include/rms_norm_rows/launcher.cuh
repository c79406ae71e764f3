#pragma once

#include "launch.cuh"
#include "rms_norm.h"
#include "rms_norm_rows/arguments.cuh"
#include "tensor_checks.h"

// The launcher: it refuses what the kernel cannot compute.
#ifndef EVOFLASH_DEVICE_ONLY
namespace evoflash::rms_norm_rows {
namespace {

template <class Config>
bool is_supported(const RmsNorm &problem) {
  constexpr int kBytes = sizeof(typename Config::Element), kVectorBytes = Config::kVector * kBytes;
  constexpr bool kIsQuantized = Config::kQuantize != Quantize::kNone;
  constexpr int kOut = Config::kQuantize == Quantize::kInt8  ? EVOFLASH_INT8
                       : Config::kQuantize == Quantize::kFp8 ? EVOFLASH_FLOAT8_E4M3
                                                             : Config::kDtype;
  constexpr int kOutBytes = kIsQuantized ? 1 : kBytes;
  const int64_t rows = problem.x.size[0], columns = problem.x.size[1];
  return is_matrix(problem.x, Config::kDtype, rows, columns) &&
         is_matrix(problem.residual, Config::kDtype, rows, columns) &&
         is_vector(problem.weight, Config::kDtype, columns) &&
         is_matrix(problem.total, Config::kDtype, rows, columns) && is_matrix(problem.out, kOut, rows, columns) &&
         is_aligned(problem.x, kBytes, kVectorBytes) && is_aligned(problem.residual, kBytes, kVectorBytes) &&
         is_aligned(problem.weight, kBytes, kVectorBytes) && is_aligned(problem.total, kBytes, kVectorBytes) &&
         is_aligned(problem.out, kOutBytes, Config::kVector * kOutBytes) && columns % Config::kVector == 0 &&
         columns > 0 && columns <= INT32_MAX / 2 && rows <= INT32_MAX / 2;
}

template <class Config>
int launch(const RmsNorm &problem, float *scale, void *stream, evoflash::Kernel &kernel) {
  if (!is_supported<Config>(problem)) return EVOFLASH_UNSUPPORTED;
  Arguments args{};
  args.x = problem.x.data;
  args.residual = problem.residual.data;
  args.weight = problem.weight.data;
  args.out = problem.out.data;
  args.total = problem.total.data;
  args.scale = scale;
  args.x_stride = problem.x.stride[0];
  args.residual_stride = problem.residual.stride[0];
  args.out_stride = problem.out.stride[0];
  args.total_stride = problem.total.stride[0];
  args.rows = int(problem.x.size[0]);
  args.columns = int(problem.x.size[1]);
  args.inverse_columns = 1.0f / float(args.columns);
  args.eps = float(problem.eps);

  const int needed = (args.rows + Config::kBlockRows - 1) / Config::kBlockRows;
  const int clusters = Config::kIsPersistent && needed > Config::kResident ? Config::kResident : needed;
  if (clusters > INT32_MAX / Config::kCluster) return EVOFLASH_UNSUPPORTED;
  return evoflash::launch(kernel,
                          {unsigned(clusters * Config::kCluster), unsigned(Config::kRowThreads * Config::kBlockRows),
                           Config::kSmemBytes, Config::kCluster, Config::kIsEarly},
                          stream, args);
}

}  // namespace
}  // namespace evoflash::rms_norm_rows
#endif
