#pragma once

// Programmatic dependent launch (sm_90): a kernel that starts before the one ahead of it in the stream has ended (see
// Shape::is_dependent in launch.cuh).
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// In the kernel ahead: when all its blocks have come here, or ended, the dependent kernel may start.
__device__ __forceinline__ void launch_dependents() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }

// In the dependent kernel: waits until the kernel ahead has ended, and all that it wrote can be read.
__device__ __forceinline__ void wait_for_prerequisites() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

}  // namespace evoflash
#endif
