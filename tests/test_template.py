import random
from pathlib import Path

import pytest

from evoflash import resources, targets
from evoflash.codegen.source import Source
from evoflash.codegen.template import load, load_all
from evoflash.core.genome import Genome
from evoflash.errors import NotFoundError, SpaceError
from evoflash.problems.attention import AttentionProblem, shapes
from evoflash.targets import cuda
from tests.helpers import BROKEN, PROBLEM, TINY

CPU = {"cores": 2, "vector_bytes": 32, "l1d_bytes": 32768, "l2_bytes": 1 << 20, "bf16_dot": False}
MANIFEST = """
family: own
summary: a test
problem: attention
target: cpu
source: kernel.cpp.j2
constants: [dtype, causal]
requires:
  - {expr: problem.dtype != "float32", why: halves only}
  - {expr: device.cores > 1, why: one core is not enough}
"""
SPACE = """
family: own
parameters:
  rows: {kind: ordinal, values: [16, 32]}
  fast: {kind: flag}
derived: {shared_bytes: rows * 4}
"""


def write(root: Path, kernel: str, manifest: str = MANIFEST, space: str = SPACE, family: str = "own") -> Path:
    folder = root / "templates" / family
    folder.mkdir(parents=True)
    (root / "search_spaces").mkdir()
    (folder / "template.yaml").write_text(manifest)
    (folder / "kernel.cpp.j2").write_text(kernel)
    (root / "search_spaces" / f"{family}.yaml").write_text(space)
    return root


def render(root: Path, problem: AttentionProblem = PROBLEM, **genes) -> Source:
    return load("own", [root]).render(Genome({"rows": 16, "fast": False, **genes}), problem, CPU)


def test_the_same_genes_give_the_same_text_whatever_else_differs(tmp_path):
    root = write(tmp_path, "{{ genome.rows }} {{ derived.shared_bytes }} {{ problem.dtype }} {{ genome.fast }}\n")
    source = render(root)
    assert source.text == "16 64 float32 False\n"
    assert (source.language, source.shared_bytes) == ("c++", 64)
    longer = PROBLEM.model_copy(update={"seq_q": 4096, "batch": 7, "heads": 16, "kv_heads": 4, "scale": 0.5})
    assert render(root, longer) == source
    assert render(root, longer).digest == source.digest
    assert render(root, PROBLEM.model_copy(update={"dtype": "float16"})).digest != source.digest
    assert render(root, rows=32).digest != source.digest


@pytest.mark.parametrize("fact", ["seq_q", "head_dim", "rows", "batch", "nonsense"])
def test_a_fact_that_is_not_a_constant_cannot_be_read(tmp_path, fact):
    with pytest.raises(SpaceError, match=rf"template own: .*{fact}"):
        render(write(tmp_path, f"{{{{ problem.{fact} }}}}"))


@pytest.mark.parametrize(
    "kernel",
    [
        "{{ genome.row }}",
        "{{ derived.bytes }}",
        "{{ device.cores }}",  # only the architecture is a constant
        "{{ rows }}",
        "{{ genome.__class__ }}",
        "{% include 'nowhere.h' %}",
        "{{ genome.rows // 0 }}",
        "{{ genome.rows + 'x' }}",
    ],
)
def test_what_a_template_may_not_do_is_an_error_that_names_it(tmp_path, kernel):
    with pytest.raises(SpaceError, match="template own"):
        render(write(tmp_path, kernel))


def test_a_syntax_error_names_file_and_line(tmp_path):
    with pytest.raises(SpaceError, match=r"kernel\.cpp\.j2:2: .*fix the template"):
        load("own", [write(tmp_path, "\n{% if genome.fast %}\n")])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("constants: [dtype, causal]", "constants: [dtype, caussal]", "caussal"),
        ("summary: a test", "sumary: a test", "template.yaml.*(sumary|summary)"),
        ("target: cpu", "target: tpu", "template.yaml: target"),
        ("kernel.cpp.j2", "kernel.cc.j2", "kernel.cc.j2 does not exist"),
        ("family: own", "family: other", "must name one family"),
        ("summary: a test", "1: a test", "template.yaml"),
    ],
)
def test_a_malformed_manifest_is_named(tmp_path, old, new, words):
    with pytest.raises(SpaceError, match=words):
        render(write(tmp_path, "x", MANIFEST.replace(old, new)))


def test_a_family_without_a_space(tmp_path):
    root = write(tmp_path, "x")
    (root / "search_spaces" / "own.yaml").unlink()
    with pytest.raises(SpaceError, match=r"write search_spaces/own\.yaml"):
        load("own", [root])


def test_refusals_give_each_reason(tmp_path):
    template = load("own", [write(tmp_path, "x")])
    half = PROBLEM.model_copy(update={"dtype": "float16"})
    assert template.refusals(half, CPU) == []
    assert template.refusals(PROBLEM, CPU) == ["halves only"]
    assert template.refusals(PROBLEM, {**CPU, "cores": 1}) == ["halves only", "one core is not enough"]
    other = load("own", [write(tmp_path / "other", "x", MANIFEST.replace("problem: attention", "problem: norm"))])
    assert other.refusals(half, CPU) == ["it computes norm, not attention"]


def test_one_kernel_for_several_problems_has_no_size_of_one_of_them_built_in():
    mma, (mission, bert, longer) = (
        load("mma"),
        (AttentionProblem.of(*each, 512, 64) for each in ((1, 8), (8, 8), (1, 8))),
    )
    longer = longer.model_copy(update={"seq_kv": 4096})
    facts, rng = dict(cuda.of_arch("sm_90a").facts), random.Random(0)
    alone, same, both = (mma.space([mission, *more], facts) for more in ([], [bert], [longer]))
    drawn = {
        name: [each.sample(rng) for _ in range(40)] for name, each in (("alone", alone), ("same", same), ("both", both))
    }
    assert any(genome["specialised"] for genome in drawn["alone"])
    assert any(genome["specialised"] for genome in drawn["same"])  # batches are no constant: one kernel serves both
    assert not any(genome["specialised"] for genome in drawn["both"])
    assert all(mma.space([longer], facts).is_valid(genome) and alone.is_valid(genome) for genome in drawn["both"])
    special = next(genome for genome in drawn["alone"] if genome["specialised"])
    assert "one kernel must serve every seq_kv" in [each.why for each in both.violations(special)]
    assert mma.same_constants(mission, longer)
    assert not mma.same_constants(mission, mission.model_copy(update={"causal": True}))


def test_an_unknown_family_names_the_near_ones():
    with pytest.raises(NotFoundError, match="unknown template 'cpu_flsh'; did you mean 'cpu_flash'"):
        load("cpu_flsh")


def test_a_users_folder_goes_before_what_ships(tmp_path, monkeypatch):
    shipped = load("cpu_flash")
    manifest, space = (text.replace("family: own", "family: cpu_flash") for text in (MANIFEST, SPACE))
    root = write(tmp_path / "own", "mine", manifest, space, "cpu_flash")
    assert load("cpu_flash", [root]).manifest.summary == "a test"
    assert load("cpu_flash", [root]).folder != shipped.folder
    assert load_all([root])["cpu_flash"].manifest.summary == "a test"
    monkeypatch.chdir(root)
    assert load("cpu_flash").manifest.summary == "a test"


def test_includes_come_from_the_users_folder_first(tmp_path):
    root = write(tmp_path, '{% include "log2e.h" %}')
    assert "kLog2E" in render(root).text
    (root / "templates" / "include").mkdir()
    (root / "templates" / "include" / "log2e.h").write_text("mine {{ genome.rows }}")
    assert render(root).text == "mine 16"


def test_all_families_load_and_say_what_they_are():
    families = load_all([TINY, BROKEN])
    assert {"cpu_flash", "scalar", "wmma", "tiny", "broken"} <= families.keys()
    for family, template in families.items():
        assert template.family == family
        assert template.manifest.summary
        for parameter in template.declaration.parameters.values():
            assert parameter.about
        assert template.manifest.target in ("cpu", "cuda")


FAMILIES = {
    path.parent.name: resources.read_yaml(path) for path in resources.shipped().glob("templates/*/template.yaml")
}
CPU_FAMILIES = sorted(family for family, manifest in FAMILIES.items() if manifest["target"] == "cpu")


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("family", CPU_FAMILIES)
def test_each_shipped_cpu_family_renders(family, dtype, causal):
    problem = AttentionProblem.of(1, 8, 512, 64, dtype=dtype, causal=causal)
    template = load(family)
    facts = targets.detect("cpu").facts
    if template.refusals(problem, facts):
        pytest.skip("; ".join(template.refusals(problem, facts)))
    space, rng, texts = template.space([problem], facts), random.Random(0), {}
    genomes = {space.sample(rng) for _ in range(12)}
    for genome in genomes:
        text = template.render(genome, problem, facts).text
        assert "evoflash_launch" in text
        assert "{{ " not in text
        assert "{%" not in text
        assert genome.digest not in text
        texts[text] = genome
    assert len(texts) > 1


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_known_good_genomes_are_complete(family):
    template = load(family)
    for seed in template.declaration.seeds:
        for name, parameter in template.declaration.parameters.items():
            assert parameter.admits(seed.genome.get(name)), f"{family}: {seed.genome}: {name}"
        assert set(seed.genome) == set(template.declaration.parameters)


def test_a_search_space_alone_goes_before_the_one_beside_the_template(tmp_path):
    below = write(tmp_path / "below", "{{ genome.rows }}\n")
    above = tmp_path / "above" / "search_spaces"
    above.mkdir(parents=True)
    (above / "own.yaml").write_text(SPACE.replace("[16, 32]", "[48]"))
    assert load("own", [above.parent, below]).declaration.parameters["rows"].values == (48,)
    assert load("own", [below, above.parent]).declaration.parameters["rows"].values == (16, 32)


H200 = {
    "arch": 90,
    "multiprocessors": 132,
    "shared_bytes_per_block": 232448,
    "shared_bytes_per_multiprocessor": 233472,
    "registers_per_multiprocessor": 65536,
    "max_threads_per_multiprocessor": 2048,
    "l2_bytes": 50 << 20,
}
H100 = {**H200, "l2_bytes": 52428800}
XEON = {"cores": 2, "vector_bytes": 64, "l1d_bytes": 48 << 10, "l2_bytes": 2 << 20, "bf16_dot": True, "amx": True}


def of_attention(family: str) -> bool:
    """Whether its seeds are for shapes of attention; the tests of other problems look at those of theirs."""
    template = load(family)
    return template.manifest.problem == "attention" and bool(template.declaration.seeds)


@pytest.mark.parametrize("family", [family for family in sorted(FAMILIES) if of_attention(family)])
def test_known_good_genomes_are_valid_for_the_shape_they_were_measured_on(family):
    template = load(family)
    for seed in template.declaration.seeds:
        device = {"NVIDIA H200": H200, "NVIDIA H100 80GB HBM3": H100}.get(seed.device, XEON)
        space = template.space([shapes.parse(seed.note.partition(":")[0])], device)
        assert not space.violations(Genome(seed.genome)), seed
