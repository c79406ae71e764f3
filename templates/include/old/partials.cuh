/* Partial outputs in the workspace: of each part of the keys all rows of all heads and batches, {{ "in halves" if half_merge else "in floats" }}, and each row's maximum
 * and sum. */
namespace evoflash {
namespace {

struct Partials {
  unsigned char *rows, *stats; /* part by part */
  int64_t count;               /* of the rows of a part */
  int heads;                   /* of a batch */
};

constexpr int kPartialRowBytes = kHeadDim * {{ 2 if half_merge else 4 }};
constexpr int kMergeThreads = 128, kRowUnits = kHeadDim / 8; /* of the second kernel: a thread for each eight columns of a row */

#ifndef EVOFLASH_DEVICE_ONLY
constexpr int kPartialStatsBytes = 8;

inline int64_t all_rows(const EvoflashAttention &problem) { return int64_t(problem.batch) * problem.heads * problem.seq_q; }

inline size_t partials_bytes(const EvoflashAttention &problem) { return size_t(all_rows(problem)) * kSplit * (kPartialRowBytes + kPartialStatsBytes); }

inline Partials partials_in(void *workspace, const EvoflashAttention &problem) {
  unsigned char *const rows = static_cast<unsigned char *>(workspace);
  return {rows, rows + all_rows(problem) * kSplit * kPartialRowBytes, all_rows(problem), problem.heads};
}
#endif

}  // namespace
}  // namespace evoflash
