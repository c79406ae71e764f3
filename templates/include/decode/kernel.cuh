#pragma once

#include "decode/epilogue.cuh"
#include "decode/gemm.cuh"
#include "decode/producer.cuh"
#include "decode/column_softmax.cuh"
#include "decode/storage.cuh"
#include "decode/tile_coord.cuh"
#include "programmatic_launch.cuh"

// The kernel's body.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::decode {

// All steps of a warp. A stage is loaded anew as soon as the warp has read it.
template <class Traits, class Producer>
__device__ __forceinline__ void mainloop(Output<Traits> &acc_o, ColumnSoftmax<Traits> &softmax,
                                         const QOperands<Traits> &q, const Producer &producer) {
  const float softmax_scale_log2 = producer.args.softmax_scale_log2;
  int stage = 0;
  unsigned parity = 0;
#pragma unroll 1
  for (int step = 0; step < producer.steps.count; ++step) {
    Scores<Traits> acc_s;
    producer.wait_k(stage, parity);
    gemm_kq<Traits>(acc_s, producer.smem.k(producer.warp, stage), q);
    __syncwarp();
    producer.load_k(step + Traits::kStages, stage);

    const int key = producer.steps.template first_key<Traits>(step);
    const KeyRange &all = producer.coord.all;
    if (key < all.begin || key + Traits::kWarpN > all.end) apply_mask<Traits>(acc_s, producer.coord, key);
    softmax.step(acc_s, acc_o, softmax_scale_log2);

    producer.wait_v(stage, parity);
    gemm_vp<Traits>(acc_o, producer.smem.v(producer.warp, stage), acc_s);
    __syncwarp();
    producer.load_v(step + Traits::kStages, stage);
    if (++stage == Traits::kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
}

template <class Traits>
__device__ __forceinline__ void attention(const Arguments<Traits> &args, unsigned char *shared_memory) {
  using Producer = typename ProducerOf<Traits>::Type;
  const SharedStorage<Traits> smem{shared_memory};
  const TileCoord<Traits> coord(args);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const WarpSteps steps = WarpSteps::of(coord, warp);
  const Producer producer{args, smem, coord, steps, warp, lane};
  const Epilogue<Traits> epilogue{args, smem, coord};

  producer.begin();
  epilogue.begin();
  if constexpr (Traits::kIsDependent) launch_dependents();

  producer.wait_q();
  __syncthreads();
  const QOperands<Traits> q(smem.q());
  Output<Traits> acc_o = {};
  ColumnSoftmax<Traits> softmax;
  mainloop<Traits>(acc_o, softmax, q, producer);
  epilogue.merge(acc_o, softmax);
}

}  // namespace evoflash::decode
#endif
