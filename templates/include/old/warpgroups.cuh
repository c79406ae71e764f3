/* Products by a warpgroup, four warps (wgmma, sm_90a): 64 rows of {{ problem.dtype }} operands, float32 sums, in the background.
 *
 * A sum of 64 x 8 columns is four floats a lane: warp w has rows 16 w to 16 w + 15, lane 4 g + c columns 2c and 2c + 1 of
 * row g, then of row g + 8. Operands in registers are those of mma.sync: four words of 16 x 16 elements, at rows g and g + 8,
 * columns 2c and 2c + 8, rows first.
 *
 * Other operands lie in shared memory, in panels (tensor_maps.cuh) of rows of 128 bytes, and are named by descriptors:
 *   bits  0-13  address / 16
 *   bits 16-29  bytes / 16 from panel to panel (of operands that run across the rows; else not read)
 *   bits 32-45  bytes / 16 from eight rows to the next eight: 1024 / 16
 *   bits 62-63  1: units of 16 bytes permuted within 128
 * The permutation takes address bits 7 to 9 into bits 4 to 6, so a descriptor may begin anywhere in a row's 128 bytes as long as
 * panels begin on multiples of 1024. */
namespace evoflash {

using Descriptor = unsigned long long;

constexpr int kEightRowsBytes = 1024;

/* Of the panel at a shared address, of whose bits the lowest 18 count: in a cluster those from the 24th on are the block's rank. */
__device__ __forceinline__ Descriptor descriptor_of(unsigned address, int panel_bytes) {
  return Descriptor((address & 0x3ffff) >> 4) | Descriptor(panel_bytes >> 4) << 16 | Descriptor(kEightRowsBytes >> 4) << 32 | Descriptor(1) << 62;
}

/* The same, so many bytes on: addresses end below 2^18, so no carry leaves their field. */
__device__ __forceinline__ Descriptor moved(Descriptor descriptor, int bytes) { return descriptor + (bytes >> 4); }

/* Before the first product after registers of sums or operands were written: the tensor cores see them as they are now. */
__device__ __forceinline__ void products_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

/* Closes a group: the products since the one before. */
__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

/* Waits until at most kPending of the latest groups are under way. */
template <int kPending>
__device__ __forceinline__ void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

/* Right after a wait: the compiler must neither read these registers before this point nor use them for anything else. */
template <int kTiles>
__device__ __forceinline__ void landed(float (&sums)[kTiles][4]) {
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(sums[t][i])::"memory");
}

template <int kTiles>
__device__ __forceinline__ void landed(unsigned (&operands)[kTiles][4]) {
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+r"(operands[t][i])::"memory");
}
{% set type = "f16" if problem.dtype == "float16" else "bf16" %}
{% for name, columns, first_operand, transposed in warpgroup_products %}
{% set sums = columns // 2 %}
{% set operands = 4 if first_operand == "registers" else 1 %}
{% set second = sums + operands %}

/* sums{{ " = or" }} += a b over 16 terms: a from {{ first_operand if first_operand == "registers" else "shared memory, its rows along the terms" }}, b from shared memory, its rows {{ "terms" if transposed else "along the terms" }}. */
__device__ __forceinline__ void {{ name }}(float (&sums)[{{ columns // 8 }}][4], {{ "const unsigned (&a)[4]" if first_operand == "registers" else "Descriptor a" }}, Descriptor b, int add) {
  asm volatile(
      "{\n"
      ".reg .pred add;\n"
      "setp.ne.b32 add, %{{ second + 1 }}, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n{{ columns }}k16.f32.{{ type }}.{{ type }}\n"
{% for start in range(0, sums, 16) %}
      "{{ "{" if start == 0 else " " }}{% for i in range(start, [start + 16, sums] | min) %}%{{ i }}{{ ", " if i + 1 < sums else "},"  }}{% endfor %}\n"
{% endfor %}
      "{{ "{" if operands > 1 else "" }}{% for i in range(operands) %}%{{ sums + i }}{{ ", " if i + 1 < operands }}{% endfor %}{{ "}" if operands > 1 }}, %{{ second }}, add, 1, 1{{ ", 0" if operands == 1 }}, {{ 1 if transposed else 0 }};\n"
      "}"
      : {% for t in range(columns // 8) %}{{ "" if t == 0 else ",\n        " if t % 4 == 0 else ", " }}{% for i in range(4) %}"+f"(sums[{{ t }}][{{ i }}]){{ ", " if i < 3 }}{% endfor %}{% endfor %}

      : {% if operands > 1 %}"r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]){% else %}"l"(a){% endif %}, "l"(b), "r"(add)
      : "memory");
}
{% endfor %}

}  // namespace evoflash
