#pragma once

#include "decode/epilogue.cuh"
#include "decode/gemm.cuh"
#include "decode/producer.cuh"
#include "decode/quantized_gemm.cuh"
#include "decode/column_softmax.cuh"
#include "decode/shares.cuh"
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
  const float softmax_scale_log2 = producer.coord.scales.of_scores();
  int stage = 0;
  unsigned parity = 0;
  auto pages = Producer::Pages::of(producer.coord, producer.steps, Traits::kStages);  // of the next step to be loaded
#pragma unroll 1
  for (int step = 0; step < producer.steps.count; ++step) {
    Scores<Traits> acc_s;
    const auto later = Producer::Pages::of(producer.coord, producer.steps, step + Traits::kStages + 1);
    producer.wait_k(stage, parity);
    if constexpr (Traits::kIsQuantized) {
      quantized_gemm_kq<Traits>(acc_s, producer.smem.k(producer.warp, stage), q);
    } else {
      gemm_kq<Traits>(acc_s, producer.smem.k(producer.warp, stage), q);
    }
    __syncwarp();
    producer.load_k(step + Traits::kStages, stage, pages);

    const int key = producer.steps.template first_key<Traits>(step);
    const KeyRange &all = producer.coord.all;
    if (key < all.begin || key + Traits::kWarpN > all.end) apply_mask<Traits>(acc_s, producer.coord, key);
    softmax.step(acc_s, acc_o, softmax_scale_log2);

    producer.wait_v(stage, parity, key);
    if constexpr (Traits::kIsQuantized) {
      quantized_gemm_vp<Traits>(acc_o, producer.smem.v(producer.warp, stage), acc_s);
    } else {
      gemm_vp<Traits>(acc_o, producer.smem.v(producer.warp, stage), acc_s);
    }
    __syncwarp();
    producer.load_v(step + Traits::kStages, stage, pages);
    pages = later;
    if (++stage == Traits::kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
}

// A tile of rows with a part of its keys. `is_first` of the block.
template <class Traits>
__device__ __forceinline__ void compute_tile(const SharedStorage<Traits> &smem, const TileCoord<Traits> &coord,
                                             bool is_first) {
  using Producer = typename ProducerOf<Traits>::Type;
  const Arguments<Traits> &args = coord.args;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const WarpSteps steps = WarpSteps::of(coord, warp);
  const Producer producer{args, smem, coord, steps, warp, lane};
  const Epilogue<Traits> epilogue{args, smem, coord};

  producer.begin();
  epilogue.begin();
  if constexpr (Traits::kIsDependent || Traits::kIsEarly)
    if (is_first) launch_dependents();

  producer.wait_q();
  __syncthreads();
  const QOperands<Traits> q(smem.q());
  Output<Traits> acc_o = {};
  ColumnSoftmax<Traits> softmax;
  mainloop<Traits>(acc_o, softmax, q, producer);
  epilogue.merge(acc_o, softmax);
  if constexpr (Traits::kIsShared) {
    producer.end();
    __syncthreads();  // the next segment is loaded where this one's outputs have been read
  }
}

template <class Traits>
__device__ __forceinline__ void attention(const Arguments<Traits> &args, unsigned char *shared_memory) {
  const SharedStorage<Traits> smem{shared_memory};
  if constexpr (Traits::kIsEarly) wait_for_prerequisites();  // which may write what is read here, also lengths
  if constexpr (Traits::kIsShared) {
    ShareWalk<Traits> walk(args);
    Segment segment;
    bool is_first = true;
#pragma unroll 1
    for (; walk.get(segment); walk.advance()) {
      compute_tile<Traits>(smem, TileCoord<Traits>(args, segment), is_first);
      is_first = false;
    }
  } else {
    compute_tile<Traits>(smem, TileCoord<Traits>(args), true);
  }
}

}  // namespace evoflash::decode
#endif
