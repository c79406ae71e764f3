#pragma once

#include <omp.h>

#include "cpu_linear/blocked.h"
#include "cpu_linear/streamed.h"

namespace evoflash::cpu_linear {

// Kernel: Blocked or Streamed.
template <class Traits, class Kernel>
static int launch(const FusedLinear &problem) {
  if (!is_supported<typename Traits::Element>(problem)) return EVOFLASH_UNSUPPORTED;
  const int allowed = omp_get_max_threads();  // by OMP_NUM_THREADS, or by whoever has set it since
  Kernel::compute(problem, Traits::kThreads < allowed ? Traits::kThreads : allowed);
  return 0;
}

}  // namespace evoflash::cpu_linear
