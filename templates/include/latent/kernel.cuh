#pragma once

#include "latent/epilogue.cuh"
#include "latent/gemm.cuh"
#include "latent/producer.cuh"
#include "latent/row_softmax.cuh"
#include "latent/storage.cuh"
#include "latent/tile_coord.cuh"
#include "programmatic_launch.cuh"

// The kernel's body.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::latent {

template <class Traits>
__device__ __forceinline__ void attention(const Arguments<Traits> &args, unsigned char *shared_memory) {
  using Producer = typename ProducerOf<Traits>::Type;
  const SharedStorage<Traits> smem{shared_memory};
  const TileCoord<Traits> coord(args);
  const Producer producer{smem, coord};
  const Epilogue<Traits> epilogue{args, smem, coord};

  producer.prepare();
  epilogue.prepare();
  if constexpr (Traits::kIsEarly) wait_for_prerequisites();
  if constexpr (Traits::kIsDependent || Traits::kIsEarly) launch_dependents();
  producer.begin();
  __syncthreads();
  const QOperands<Traits> q(smem.q());
  Output<Traits> acc_o = {};
  RowSoftmax<Traits> softmax;

  int stage = 0, older_stage = Traits::kStages - 1;
  unsigned parity = 0;
#pragma unroll 1
  for (int step = 0; step < coord.num_steps; ++step) {
    const unsigned char *const tile = smem.keys(stage);
    producer.wait(stage, parity);
    gemm_qk<Traits>(smem, tile, q);
    __syncthreads();  // all have written their scores, and read the values of the step before
    if (step > 0) producer.load(step - 1 + Traits::kStages, older_stage);
    softmax.step(smem, coord, coord.first_key(step));
    producer.wait_for_next();
    __syncthreads();  // all have written their probabilities
    RowSoftmax<Traits>::rescale(acc_o, smem);
    gemm_pv<Traits>(acc_o, smem, tile);
    older_stage = stage;
    if (++stage == Traits::kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
  epilogue.merge(acc_o, softmax);
}

}  // namespace evoflash::latent
#endif
