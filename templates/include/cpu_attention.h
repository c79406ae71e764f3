/* From tiles of rows and keys to the whole problem: who packs keys and values, and who computes which rows. Needs of the kernel: Element,
   Unit, Packed, Scratch, load_queries, pack_tile, attend_tile and narrow; TILE_ROWS, TILE_KEYS, PAIR, and how many units HEAD_UNITS a
   key takes and VALUE_UNITS a pair of values. */
static void store_outputs(Element *to, int64_t stride, const Scratch &scratch, int rows) {
  for (int row = 0; row < rows; ++row) {
    const float inverse = 1 / scratch.sum[row];
    for (int column = 0; column < VALUE_WIDTH; column += LANES) {
{% if half %}
      const Halves result = narrow(load<Floats>(scratch.outputs + row * VALUE_WIDTH + column) * inverse);
{% else %}
      const Floats result = load<Floats>(scratch.outputs + row * VALUE_WIDTH + column) * inverse;
{% endif %}
      Element *out = to + row * stride + column;
      if (column + LANES <= HEAD_DIM)
        store(out, result);
      else
        memcpy(out, &result, (HEAD_DIM - column) * sizeof(Element));
    }
  }
}

/* ---- the whole problem ---- */

template <typename Type>
INLINE Type *head_of(Type *base, const int64_t *stride, int64_t batch, int64_t head) {
  return base + batch * stride[0] + head * stride[1];
}

static void attend_rows(const EvoflashAttention &problem, Scratch &scratch, int batch, int head, int first_row{{ "" if packs_tile else ", Packed packed" }}) {
  const int rows = problem.seq_q - first_row < TILE_ROWS ? problem.seq_q - first_row : TILE_ROWS;
  const float scale = fabsf(problem.scale) * 1.44269504f; /* scores in powers of two; the sign goes into the queries */
  const Element *queries = head_of((const Element *)problem.q, problem.q_stride, batch, head) + first_row * problem.q_stride[2];
  load_queries(scratch.queries, queries, problem.q_stride[2], rows, problem.scale < 0);
  for (int row = 0; row < TILE_ROWS; ++row) {
    scratch.maximum[row] = -FLT_MAX; /* finite: its difference to a score times a scale of 0 is no NaN */
    scratch.sum[row] = 0;
  }
  memset(scratch.outputs, 0, sizeof scratch.outputs);

{% if packs_tile %}
  const int kv_head = head / (problem.heads / problem.kv_heads);
  const Element *keys = head_of((const Element *)problem.k, problem.k_stride, batch, kv_head);
  const Element *values = head_of((const Element *)problem.v, problem.v_stride, batch, kv_head);
{% endif %}
  const int end = CAUSAL && first_row + rows < problem.seq_kv ? first_row + rows : problem.seq_kv;
  for (int key = 0; key < end; key += TILE_KEYS) {
    const int count = end - key < TILE_KEYS ? end - key : TILE_KEYS;
{% if packs_tile %}
    const Packed tile = {scratch.keys, scratch.values};
    pack_tile(tile, keys + key * problem.k_stride[2], problem.k_stride[2], values + key * problem.v_stride[2], problem.v_stride[2], count);
{% else %}
    const Packed tile = {packed.keys + (int64_t)key * HEAD_UNITS, packed.values + (int64_t)key / PAIR * VALUE_UNITS};
{% endif %}
    attend_tile(scratch, tile, rows, count, first_row + 1 - key, scale);
  }
  Element *out = head_of((Element *)problem.out, problem.out_stride, batch, head) + first_row * problem.out_stride[2];
  store_outputs(out, problem.out_stride[2], scratch, rows);
}

{% if not packs_tile %}
static int64_t packed_keys(const EvoflashAttention &problem) { return round_up(problem.seq_kv, TILE_KEYS); }
static int64_t key_units(const EvoflashAttention &problem) { return packed_keys(problem) * HEAD_UNITS; }
static int64_t head_units(const EvoflashAttention &problem) { return key_units(problem) + packed_keys(problem) / PAIR * VALUE_UNITS; }
{% if genome.pack == "all_first" %}
static int64_t packed_heads(const EvoflashAttention &problem) { return (int64_t)problem.batch * problem.kv_heads; }
{% else %}
static int64_t packed_heads(const EvoflashAttention &) { return THREADS; } /* each thread keeps the head that it is at */
{% endif %}

/* One tile of keys and values of a head, into its place in the packed head. */
static void pack_head_tile(const EvoflashAttention &problem, Packed packed, int batch, int kv_head, int key) {
  const int count = problem.seq_kv - key < TILE_KEYS ? problem.seq_kv - key : TILE_KEYS;
  const Packed tile = {packed.keys + (int64_t)key * HEAD_UNITS, packed.values + (int64_t)key / PAIR * VALUE_UNITS};
  const Element *keys = head_of((const Element *)problem.k, problem.k_stride, batch, kv_head) + key * problem.k_stride[2];
  const Element *values = head_of((const Element *)problem.v, problem.v_stride, batch, kv_head) + key * problem.v_stride[2];
  pack_tile(tile, keys, problem.k_stride[2], values, problem.v_stride[2], count);
}

{% endif %}
extern "C" size_t evoflash_workspace_bytes(const EvoflashAttention *problem) {
{% if packs_tile %}
  (void)problem;
  return 64 + THREADS * sizeof(Scratch);
{% else %}
  return 64 + THREADS * sizeof(Scratch) + packed_heads(*problem) * head_units(*problem) * sizeof(Unit);
{% endif %}
}

extern "C" int evoflash_launch(const EvoflashAttention *argument, void *) {
  const EvoflashAttention &problem = *argument;
  if (problem.head_dim != HEAD_DIM || (problem.causal != 0) != CAUSAL || problem.heads % problem.kv_heads != 0) return EVOFLASH_UNSUPPORTED;
{% if refused is defined %}
  if ({{ refused }}) return EVOFLASH_UNSUPPORTED;
{% endif %}
  Scratch *scratch = (Scratch *)(((uintptr_t)problem.workspace + 63) & ~(uintptr_t)63);
{% if not packs_tile %}
  Unit *storage = (Unit *)(scratch + THREADS);
  const auto packed = [&](int64_t head) {
    Unit *keys = storage + head * head_units(problem);
    return Packed{keys, keys + key_units(problem)};
  };
{% endif %}
  const int row_tiles = ceil_div(problem.seq_q, TILE_ROWS);
{% macro tile_number(position) %}
{{ "row_tiles - 1 - " if genome.longest_first }}{{ position }}{% endmacro %}
{% set schedule = "static" if genome.schedule == "static" else "dynamic, 1" %}

#pragma omp parallel num_threads(THREADS)
  {
{% if per_thread is defined %}
    const {{ per_thread }}
{% endif %}
    Scratch &own = scratch[omp_get_thread_num()];
{% if genome.pack == "head" %}
    const int group = problem.heads / problem.kv_heads;
    const Packed mine = packed(omp_get_thread_num());
#pragma omp for schedule({{ schedule }})
    for (int kv = 0; kv < problem.batch * problem.kv_heads; ++kv) {
      const int batch = kv / problem.kv_heads, kv_head = kv % problem.kv_heads;
      for (int key = 0; key < problem.seq_kv; key += TILE_KEYS) pack_head_tile(problem, mine, batch, kv_head, key);
      for (int head = kv_head * group; head < (kv_head + 1) * group; ++head)
        for (int tile = 0; tile < row_tiles; ++tile) attend_rows(problem, own, batch, head, tile * TILE_ROWS, mine);
    }
{% else %}
{% if genome.pack == "all_first" %}
    const int key_tiles = ceil_div(problem.seq_kv, TILE_KEYS), group = problem.heads / problem.kv_heads;
#pragma omp for schedule(static)
    for (int64_t i = 0; i < packed_heads(problem) * key_tiles; ++i) {
      const int head = i / key_tiles;
      pack_head_tile(problem, packed(head), head / problem.kv_heads, head % problem.kv_heads, i % key_tiles * TILE_KEYS);
    }
{% endif %}
#pragma omp for schedule({{ schedule }})
    for (int64_t i = 0; i < (int64_t)problem.batch * problem.heads * row_tiles; ++i) {
{% if genome.walk == "head_by_head" %}
      const int head = i / row_tiles, tile = {{ tile_number("i % row_tiles") }};
{% else %}
      const int heads = problem.batch * problem.heads, head = i % heads, tile = {{ tile_number("i / heads") }};
{% endif %}
      const int batch = head / problem.heads, own_head = head % problem.heads;
{% if packs_tile %}
      attend_rows(problem, own, batch, own_head, tile * TILE_ROWS);
{% else %}
      attend_rows(problem, own, batch, own_head, tile * TILE_ROWS, packed(batch * problem.kv_heads + own_head / group));
{% endif %}
    }
{% endif %}
  }
  return 0;
}
