"""Masks, and what is done to scores: the fields of a problem, and its reference against attention written out."""

import dataclasses
import math

import pytest
import torch

from evoflash.codegen.template import load, load_all
from evoflash.errors import NoPackageError, UsageError
from evoflash.export import rendering
from evoflash.export.formats import FORMATS
from evoflash.export.winner import Winner
from evoflash.problems import attention, dtypes
from evoflash.problems.attention import AttentionProblem, adversaries, sdpa, sequences
from evoflash.problems.attention.band import Band
from evoflash.targets import cuda
from evoflash.worker.buffers import Arena

SIZES = "b=2,h=4,kv=2,s=13,t=19,d=8,dtype=fp32"
SHAPES = [
    "v=16",
    "latent,v=5",
    "latent,causal,bias=hk",
    "causal,align=bottom_right",
    "window=4:2",
    "window=4:",
    "causal,window=5,v=4",
    "softcap=3",
    "bias=hqk",
    "bias=k,causal",
    "mask=bk",
    "mask=bhqk,window=6",
    "alibi,causal,align=bottom_right",
    "sinks",
    "causal,window=3,softcap=2,mask=bqk,alibi,sinks",
    "lengths=19+7",
    "lengths=0+16,causal",
    "page=4",
    "lengths=3+19,page=1,window=5:2,bias=bhqk",
    "lengths=uniform:5,page=16,alibi,mask=hk,sinks",
    "kv_dtype=fp8",
    "kv_dtype=fp8,lengths=19+7,page=4,causal,softcap=2",
    "layout=bshd,v=16,lengths=19+7",
    "layout=packed,lengths=19+7",
    "layout=packed,lengths=0+16,causal,v=4",
    "layout=packed,lengths=3+19,window=5:2,bias=bhqk,sinks",
    "layout=packed,lengths=uniform:5,alibi,mask=hqk,softcap=2",
    "lse",
    "causal,align=bottom_right,sinks,lse",
    "mask=bqk,lse",
    "lengths=0+16,window=3,page=4,sinks,lse",
]


def parse(features: str) -> AttentionProblem:
    return attention.parse(f"{SIZES},{features}")


def written_out(problem: AttentionProblem, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The definition, a score at a time."""
    q, k, *_ = (each.double() if each.is_floating_point() else each for each in inputs)
    v = k[..., : problem.value_size] if problem.latent else inputs[2].double()
    extras = problem.extras(inputs)
    k_scales, v_scales = (extras.get(name, torch.ones(problem.kv_heads)) for name in ("k_scales", "v_scales"))
    out = torch.zeros(problem.output_shape(), dtype=torch.float64)
    q_starts, k_starts = (extras[name].tolist() if name in extras else None for name in ("q_starts", "k_starts"))
    lse = torch.full(problem.output_shape()[:3], -math.inf, dtype=torch.float64)
    left, right = problem.window or (None, None)

    def of(name: str, *place: int) -> float:
        tensor = extras[name]
        return float(tensor[tuple(min(at, size - 1) for at, size in zip(place, tensor.shape, strict=True))])

    def place(b: int, i: int) -> tuple[int, int]:
        return (0, q_starts[b] + i) if q_starts else (b, i)

    def key_or_value(tensor: torch.Tensor, b: int, group: int, j: int) -> torch.Tensor:
        if k_starts:
            return tensor[0, group, k_starts[b] + j]
        if "block_table" not in extras:
            return tensor[b, group, j]
        page = tensor.shape[1]
        return tensor[int(extras["block_table"][b, j // page]), j % page, group]

    for b in range(problem.batch):
        length = int(extras["lengths"][b]) if "lengths" in extras else problem.seq_kv
        rows = problem.seq_q
        if q_starts and k_starts:
            rows, length = q_starts[b + 1] - q_starts[b], k_starts[b + 1] - k_starts[b]
        shift = length - rows if problem.align == "bottom_right" else 0
        for h in range(problem.heads):
            if "sinks" in extras and not q_starts:
                lse[b, h] = of("sinks", h)  # of sequences without a key
            group = h // (problem.heads // problem.kv_heads)
            for i in range(rows):
                batch, row = place(b, i)
                logits, values = [], []
                for j in range(length):
                    distance = j - i - shift
                    hidden = (problem.causal and distance > 0) or (left is not None and distance < -left)
                    hidden |= right is not None and distance > right
                    if hidden or ("mask" in extras and not of("mask", b, h, i, j)):
                        continue
                    score = (
                        float(q[batch, h, row] @ key_or_value(k, b, group, j))
                        * problem.softmax_scale
                        * float(k_scales[group])
                    )
                    score = problem.softcap * math.tanh(score / problem.softcap) if problem.softcap else score
                    score += of("bias", b, h, i, j) if "bias" in extras else 0.0
                    score -= of("slopes", h) * abs(distance) if "slopes" in extras else 0.0
                    logits.append(score)
                    values.append(key_or_value(v, b, group, j) * float(v_scales[group]))
                total = sum(map(math.exp, logits)) + (math.exp(of("sinks", h)) if "sinks" in extras else 0.0)
                for score, value in zip(logits, values, strict=True):
                    out[batch, h, row] += math.exp(score) / total * value
                lse[batch, h, row] = math.log(total) if total else -math.inf
    return (out, lse) if problem.lse else (out,)


@pytest.mark.parametrize("features", SHAPES)
def test_the_reference_and_pytorch_are_attention_written_out(features):
    problem = parse(features)
    inputs = problem.inputs(3, "normal", "cpu")
    expected = written_out(problem, inputs)
    torch.testing.assert_close(problem.reference(inputs), expected)
    plain = tuple(each.double() for each in problem.plain(inputs))
    torch.testing.assert_close(plain, expected, atol=2e-6, rtol=1e-5)
    seen = expected[0].abs().sum(dim=3) > 0  # elsewhere PyTorch's backends may have NaN
    for name, baseline in problem.baselines("cpu").items():
        answer = baseline(*inputs)
        outputs = answer if isinstance(answer, tuple) else (answer,)
        for out, wanted in zip(outputs, expected, strict=True):
            torch.testing.assert_close(out.double()[seen], wanted[seen], atol=2e-6, rtol=1e-5, msg=name)


def test_an_infinite_value_of_a_far_key_may_be_a_nan():
    """Its weight under a slope of 0.5 rounds to 0 in float16."""
    problem = attention.parse("b=1,h=1,s=99,d=8,alibi,causal,dtype=fp16")
    q, k, v, slopes = problem.inputs(3, "normal", "cpu")
    q.zero_()
    v[0, 0, 20, 1] = math.inf
    (accepted,) = problem.unspecified((q, k, v, slopes))
    assert accepted is not None
    seen = accepted[0, 0, 20:, 1]
    assert seen.tolist() == [0.5 * distance > math.log(2.0**25) for distance in range(79)]


def test_sdpa_is_given_a_bias_that_extends_over_keys():
    problem = parse("bias=bq")
    mask = sdpa.sdpa_mask(problem, problem.inputs(3, "normal", "cpu"))
    assert mask is not None
    assert mask.shape == (2, 1, 13, 19)
    assert mask.is_contiguous()


@pytest.mark.parametrize("features", SHAPES)
def test_a_problem_is_read_back_from_what_is_stored(features):
    problem = parse(features)
    stored = problem.to_dict()
    assert AttentionProblem.model_validate({name: value for name, value in stored.items() if name != "kind"}) == problem
    assert set(stored) >= set(problem.given) > set()
    assert all(case.problem.given for case in problem.cases() if case.name.startswith("203 "))


def test_a_plain_problem_is_stored_as_before_there_were_features():
    assert list(attention.parse("mission").to_dict()) == [
        *("kind", "batch", "heads", "kv_heads", "seq_q", "seq_kv", "head_dim", "dtype", "causal", "scale")
    ]


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ("align=bottom_right", "align means nothing"),
        ("bias=k,mask=k", "either bias or mask"),
        ("bias=kq", "bias"),
        ("window=-1", "window"),
        ("window=a:b", "window"),
        ("softcap=-2", "softcap"),
        ("v=16,latent", "no 16 columns of values"),
        ("lengths=20", "one is longer than seq_kv"),
        ("lengths=0", "no sequence has a key"),
        ("lengths=-3", "lengths"),
        ("lengths=normal", "lengths"),
        ("lengths=uniform,causal,align=top_left", "align is bottom_right"),
        ("page=0", "page_size"),
        ("kv_dtype=fp4", "kv_dtype"),
        ("latent,v=4,kv_dtype=fp8", "not quantised"),
        ("layout=sbhd", "layout"),
        ("layout=packed", "the sequences need lengths"),
        ("layout=packed,lengths=7,page=4", "neither latent values nor pages"),
        ("layout=packed,lengths=7,kv_dtype=fp8", "quantised keys and values are those of caches"),
    ],
)
def test_features_that_mean_nothing_are_refused(features, words):
    with pytest.raises(UsageError, match=words):
        parse(features)


@pytest.mark.parametrize(("rows", "keys"), [(1, 1), (5, 9), (9, 5), (40, 3), (3, 40)])
@pytest.mark.parametrize(
    "band", [Band(), Band(0, None, 0), Band(4, 2, 0), Band(-6, 3, None), Band(2, 0, 0), Band(-30, 9, 9)]
)
def test_the_pairs_of_a_band_are_those_that_it_shows(band, rows, keys):
    visible = band.visible(torch.arange(rows), torch.arange(keys))
    assert band.pairs(rows, keys) == int(visible.sum())
    begin, end = band.seen(rows, keys)
    places = visible.any(dim=0).nonzero().flatten().tolist()
    assert (begin, end) == ((places[0], places[-1] + 1) if places else (begin, begin))


def test_lengths_are_drawn_again_the_same_and_told():
    problem = attention.parse("b=4,h=2,s=1,t=1000,d=8,lengths=uniform")
    assert problem.key_lengths == (1000, 845, 758, 421)
    assert attention.parse("b=4,h=2,s=1,t=1000,d=8,lengths=uniform:3").key_lengths != problem.key_lengths
    assert problem.label == "4x2x1:1000x8 float16 lengths uniform"
    assert problem.facts()["ragged"]
    assert parse("lengths=uniform:0") == parse("lengths=uniform")
    assert parse("lengths=7").label.endswith("lengths 7")


def test_what_no_sequence_has_is_poisoned():
    """A kernel that reads it fails, or gives NaN."""
    problem = parse("lengths=17+3,page=4")
    q, k, v, lengths, table = problem.inputs(0, "normal", "cpu")
    assert q.isfinite().all()
    assert lengths.tolist() == [17, 3]
    pages = [row[: -(-length // 4)].tolist() for row, length in zip(table, lengths, strict=True)]
    own = [number for row in pages for number in row]
    assert len(set(own)) == len(own) == 6
    assert own != sorted(own)
    rest = torch.cat([row[len(those) :] for row, those in zip(table, pages, strict=True)])
    assert len(rest) == 4
    assert (rest >= k.shape[0]).all()
    for cache in (k, v):
        assert cache.shape == (8, 4, 2, 8)
        assert cache.isnan().flatten(2).any(dim=2).sum() == 8 * 4 - (17 + 3)


def test_a_bound_on_bytes_counts_what_is_seen():
    """Of keys, values and the block table; a bound that counts more would call right kernels mismeasured."""
    full = attention.parse("b=1,h=8,kv=2,s=8,t=8192,d=128,causal,window=2047,page=16,lengths=8192")
    keys, pages = 2047 + 8, 129
    assert full.min_bytes == 2 * (2 * 8 * 8 * 128 + 2 * 2 * 128 * keys) + 4 * (1 + pages)
    some = attention.parse("b=3,h=8,kv=2,s=1,t=100,d=16,lengths=100+7+0")
    assert some.min_bytes == 2 * (2 * 3 * 8 * 16 + 2 * 2 * 16 * 107) + 4 * 3
    assert some.flops == 2 * 8 * 32 * 107


def test_packed_sequences_have_no_more_rows_than_keys():
    with pytest.raises(UsageError, match=r"no more rows \(20\) than keys \(19\)"):
        attention.parse("b=2,h=4,s=20,t=19,d=8,lengths=uniform,layout=packed")
    problem = attention.parse("b=3,h=8,kv=2,s=5,t=100,d=16,lengths=100+3+0,layout=packed")
    assert problem.input_shapes() == ((1, 8, 8, 16), (1, 2, 103, 16), (1, 2, 103, 16), (4,), (4,))
    assert problem.output_shape() == (1, 8, 8, 16)
    assert problem.index_values() == {3: [0, 5, 8, 8], 4: [0, 100, 103, 103]}
    assert problem.facts()["rows"] == 8 * 8
    assert problem.min_bytes == 2 * (2 * 8 * 8 * 16 + 2 * 2 * 16 * 103) + 2 * 4 * 4
    assert problem.flops == 2 * 8 * 32 * (5 * 100 + 3 * 3)
    assert problem.label == "3x8(2)x5:100x16 float16 lengths 100+3+0 packed"
    assert problem.features == ("packed",)


def test_whole_packed_sequences_have_one_causal_mask_whatever_it_is_aligned_to():
    """So that their kernels need no band."""
    sizes = "b=3,h=2,t=40,d=8,lengths=40+3+9,layout=packed,causal"
    whole, ends = attention.parse(f"{sizes},s=40"), attention.parse(f"{sizes},s=39")
    assert (whole.align, whole.is_banded, ends.is_banded) == ("bottom_right", False, True)
    inputs = whole.inputs(1, "normal", "cpu")
    banded = whole.model_copy(update={"window": (99, 0)})
    assert banded.is_banded
    torch.testing.assert_close(whole.reference(inputs), banded.reference(inputs))
    alone = [sdpa.sdpa_mask(own, its) for _, own, its in sequences.sequences(whole, inputs)]
    assert alone == [None] * 3


@pytest.mark.parametrize("variant", adversaries.NEIGHBOURS)
def test_every_second_packed_sequence_must_not_be_seen_by_the_others(variant):
    problem = attention.parse("b=4,h=2,s=40,d=8,dtype=fp32,lengths=40+3+9+17,layout=packed")
    normal, changed = (problem.inputs(1, each, "cpu") for each in ("normal", variant))
    (before,), (after,) = problem.reference(normal), problem.reference(changed)
    starts = changed[3].tolist()
    for number in range(4):
        rows = slice(starts[number], starts[number + 1])
        assert torch.equal(before[:, :, rows], after[:, :, rows]) == (number % 2 == 0)
        assert torch.equal(normal[0][:, :, rows], changed[0][:, :, rows])


@pytest.mark.parametrize("features", ["", ",v=16"])
def test_a_row_of_heads_lies_together_in_memory(features):
    """Of inputs and output, whatever the size of a value."""
    problem = attention.parse(f"b=2,h=4,kv=2,s=5,d=8,layout=bshd{features}")
    inputs = problem.inputs(1, "normal", "cpu")
    assert problem.features == (("value_dim",) if features else ())
    assert [each.transpose(1, 2).is_contiguous() for each in inputs] == [True] * 3
    (out,) = Arena(inputs, problem.outputs()).outputs
    assert out.shape == problem.output_shape()
    assert out.transpose(1, 2).is_contiguous()
    same = problem.model_copy(update={"layout": "bhsd"}).inputs(1, "normal", "cpu")
    assert all(torch.equal(*pair) for pair in zip(inputs, same, strict=True))


def test_a_family_is_asked_only_for_features_that_it_takes():
    facts = cuda.of_arch("sm_90a").facts
    problem = attention.parse("b=1,h=2,s=64,d=64,window=9,sinks")
    assert load("wmma").refusals(problem, facts) == ["it lacks window, sinks"]
    assert load("mma").refusals(problem, facts) == []
    known = {name for family in load_all().values() for name in family.manifest.takes}
    every = parse(
        "causal,align=bottom_right,window=3,v=4,softcap=1,bias=k,alibi,sinks,lengths=uniform,page=8,kv_dtype=fp8,lse"
    )
    assert known == {*every.features, "latent", "mask", "packed"}
    packed = attention.parse("b=2,h=2,s=64,d=64,lengths=uniform,layout=packed")
    takers = {name for name, family in load_all().items() if "packed" in family.manifest.takes}
    assert takers == {"scalar", "mma", "cpu_flash", "cpu_amx"}
    assert load("mma").refusals(packed, facts) == []
    assert load("decode").refusals(packed, facts) == ["it lacks packed"]


def test_latent_values_are_counted_once_and_what_follows_them_in_full():
    latent, biased = parse("v=4,latent"), parse("v=4,latent,bias=hqk")
    bias = biased.input_shapes()[2]
    assert len(latent.input_shapes()) == 2
    assert biased.min_bytes - latent.min_bytes == math.prod(bias) * dtypes.BYTES[biased.dtype]


@pytest.mark.parametrize("features", ["kv_dtype=fp8", "lengths=uniform,layout=packed", "lse"])
def test_no_package_is_written_for_what_its_calls_cannot_say(features):
    winner = Winner("att", "cpu_flash", {}, "", "c++", "cpu", None, parse(features), {})
    with pytest.raises(NoPackageError, match=r"no package is written, since none asks kernels for \w+ yet"):
        rendering.files(winner)


@pytest.mark.parametrize("form", FORMATS)
def test_formats_of_one_source_refuse_features_that_their_callers_cannot_say(form):
    winner = Winner("att", "cpu_flash", {}, "", "c++", "cpu", None, parse("window=4:2,sinks"), {})
    with pytest.raises(UsageError, match="has no window, sinks; export it as a package"):
        FORMATS[form](winner)
    paged = dataclasses.replace(winner, problem=parse("lengths=uniform,page=8"))
    if form == "c":
        assert "int32_t block_table[PAGES]" in FORMATS[form](paged)["example.c"]
    else:
        with pytest.raises(UsageError, match="has no lengths, page_size; export it as a package"):
            FORMATS[form](paged)
