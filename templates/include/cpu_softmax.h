/* Softmax of a row of scores, tile by tile of keys. Needs of the kernel: Scratch with scores, maximum, sum and rescale, SCORE_STRIDE, and
   store_probabilities(scratch, row, key, p). */
{% set errors = {2: "2.0e-3", 3: "1.0e-4", 4: "2.8e-6", 5: "1.1e-7", 6: "1.6e-8"} %}
{% set coefficients = {
  2: [0.702941813, 0.239864036],
  3: [0.693282927, 0.242210962, 0.0550089314],
  4: [0.693124193, 0.240240986, 0.055906425, 0.00958285317],
  5: [0.693146978, 0.240222421, 0.0555073374, 0.00967151269, 0.00132647272],
  6: [0.693147203, 0.240226479, 0.0555033247, 0.00961843736, 0.00133988745, 0.00015353362],
}[genome.exp_degree] %}
/* 2^x for x <= 0 (or just above, by a rounding): 2^n times a polynomial for 2^(x - n), |x - n| <= 1/2, exact at 0 and
   with a relative error of at most {{ errors[genome.exp_degree] }} elsewhere. A NaN stays one. */
INLINE Floats power_of_two(Floats x) {
{% if genome.exp_scaling == "scalef" %}
  const Floats n = nearest_integer(x);
  const Floats fraction = x - n;
{% else %}
  /* Adding 1.5 * 2^23 rounds to an integer, which is then found in the low bits: they are added to the exponent. */
  constexpr float ROUNDER = 0x1.8p23f;
  x = larger(all(-126.0f), x);
  const Floats shifted = x + ROUNDER;
  const Floats fraction = x - (shifted - ROUNDER);
{% endif %}
  Floats result = all({{ coefficients[-1] }}f);
{% for coefficient in coefficients[:-1] | reverse %}
  result = result * fraction + {{ coefficient }}f;
{% endfor %}
  result = result * fraction + 1.0f;
{% if genome.exp_scaling == "scalef" %}
  return times_power_of_two(result, n);
{% else %}
  return as_floats(as_bits(result) + (as_bits(shifted) << 23));
{% endif %}
}

/* Turns one row's scores of a tile into probabilities, with zeros from key `visible` to `cover`, and updates the running maximum. */
static void softmax_row(Scratch &scratch, int row, int visible, int cover, float scale) {
  const float *scores = scratch.scores + row * SCORE_STRIDE;
  const int whole = visible > 0 ? visible / LANES * LANES : 0;
  int key = 0;
  scratch.rescale[row] = 1;
  if (visible > 0) {
    const Ints in_tail = first_lanes(visible - whole);
    Floats maximum[4]; /* four, as one chain would wait for its own latency */
    for (Floats &m : maximum) m = all(-INFINITY);
    for (; key + 4 * LANES <= whole; key += 4 * LANES)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) maximum[i] = larger(maximum[i], load<Floats>(scores + key + i * LANES));
    for (; key < whole; key += LANES) maximum[0] = larger(maximum[0], load<Floats>(scores + key));
    if (whole < visible) {
      const Bits last = select(in_tail, load<Bits>(scores + whole), as_bits(all(-INFINITY)));
      maximum[1] = larger(maximum[1], as_floats(last));
    }
    maximum[0] = larger(larger(maximum[0], maximum[1]), larger(maximum[2], maximum[3]));

    /* A NaN may get lost in a maximum, but not in the probability of its own key, and so not in the sum. */
    const float old_largest = scratch.maximum[row], new_largest = largest_lane(maximum[0]);
    const float largest = old_largest > new_largest ? old_largest : new_largest;
    Floats sum = {};
#pragma GCC unroll {{ genome.exp_unroll }}
    for (key = 0; key < whole; key += LANES) {
      const Floats p = power_of_two((load<Floats>(scores + key) - largest) * scale);
      store_probabilities(scratch, row, key, p);
      sum += p;
    }
    if (whole < visible) {
      const Floats p = power_of_two((load<Floats>(scores + whole) - largest) * scale);
      const Floats seen = as_floats(select(in_tail, as_bits(p), Bits{}));
      store_probabilities(scratch, row, whole, seen);
      sum += seen;
      key += LANES;
    }
    const float rescale = power_of_two(larger(all(-200.0f), all((old_largest - largest) * scale)))[0];
    scratch.rescale[row] = rescale;
    scratch.sum[row] = scratch.sum[row] * rescale + sum_lanes(sum);
    scratch.maximum[row] = largest;
  }
  for (; key < cover; key += LANES) store_probabilities(scratch, row, key, Floats{});
}
