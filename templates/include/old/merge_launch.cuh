/* Launching merge_kernel (merge_rows.cuh), which has a row of the grid for each head. */
namespace evoflash {
namespace {

inline bool mergeable(const EvoflashAttention &problem) {
  return fits_grid(problem.heads, problem.batch) && int64_t(problem.seq_q) * kRowUnits <= INT32_MAX - kMergeThreads;
}

inline int launch_merge(const EvoflashAttention &problem, const Arguments &arguments, void *stream) {
  const unsigned blocks = unsigned(problem.seq_q * kRowUnits + kMergeThreads - 1) / kMergeThreads;
  return launch(EVOFLASH_KERNEL(merge_kernel), {Dim(blocks, problem.heads, problem.batch), kMergeThreads}, stream, arguments);
}

}  // namespace
}  // namespace evoflash
