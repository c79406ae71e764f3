/* Launching merge_kernel (merge_rows.cuh), which has a row of the grid for each head. */
namespace evoflash {
namespace {

constexpr int kMergeBlock = 128;

inline bool mergeable(const EvoflashAttention &problem) {
  return fits_grid(problem.heads, problem.batch) && int64_t(problem.seq_q) * (kHeadDim / 8) <= INT32_MAX - kMergeBlock;
}

inline int launch_merge(const EvoflashAttention &problem, const Arguments &arguments, void *stream) {
  const unsigned blocks = unsigned(problem.seq_q * (kHeadDim / 8) + kMergeBlock - 1) / kMergeBlock;
  return launch(EVOFLASH_KERNEL(merge_kernel), {Dim(blocks, problem.heads, problem.batch), kMergeBlock}, stream, arguments);
}

}  // namespace
}  // namespace evoflash
