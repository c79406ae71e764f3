#pragma once

#include "cluster.cuh"
#include "split/epilogue.cuh"
#include "split/mainloop.cuh"
#include "split/producer.cuh"

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::split {

// The kernel.
template <class Traits>
__device__ __forceinline__ void attention(unsigned char *shared_memory, const Arguments<Traits> &args) {
  const TileCoord<Traits> coord(args);
  const SharedStorage<Traits> smem(shared_memory);
  const Producer<Traits> producer{smem, args, coord};

  producer.begin(coord.warp);
  __syncwarp();
  if constexpr (Traits::kIsCluster) cluster_arrive_relaxed();  // from now on other blocks may send to this one
  __syncthreads();

  // Read while the loads are in flight: parameters come from far, too.
  OutputTile<Traits> out(args, coord);
  float softmax_scale_log2 = args.softmax_scale_log2;
  asm volatile("" : "+l"(out.base), "+r"(out.row_stride), "+f"(softmax_scale_log2));

  RowSoftmax<Traits> softmax;
  float acc_o[Traits::kTilesHead][4] = {};
  POperand<Traits> p[Traits::kParts];
  if constexpr (!Traits::kIsOnline && !Traits::kIsExactN) clear<Traits>(p);  // a split without keys multiplies nothing
  const Mainloop<Traits> mainloop{smem, producer, coord, softmax_scale_log2};
  const Mask<Traits> mask(args, coord);
  mainloop.run(acc_o, softmax, p, mask);
#pragma unroll
  for (int half = 0; half < Traits::kRowsPerLane; ++half)
    softmax.row_sum[half] = warp_reduce_sum<4>(softmax.row_sum[half]);
  const Epilogue<Traits> epilogue{smem, coord, out, softmax_scale_log2};
  epilogue.store(acc_o, softmax, p);
}

}  // namespace evoflash::split
#endif
