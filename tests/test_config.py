import os

import pytest

from evoflash import config
from evoflash.errors import NotFoundError, UsageError, unknown
from evoflash.problems import attention
from evoflash.problems.attention import AttentionProblem


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """No settings but those of the test."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("EVOFLASH_") or name in ("CUDA_ARCH", "DEBUG", "ARCH", "TARGET"):
            monkeypatch.delenv(name)


def write(text, name="evoflash.yaml"):
    with open(name, "w") as file:
        file.write(text)


def test_the_command_line_goes_before_the_environment_before_yaml_before_the_defaults(monkeypatch):
    assert config.load().db == "runs/evoflash.db"
    write("{db: yaml.db, arch: sm_80, jobs: 3}")
    assert (config.load().db, config.load().arch, config.load().jobs) == ("yaml.db", "sm_80", 3)
    monkeypatch.setenv("EVOFLASH_DB", "env.db")
    monkeypatch.setenv("EVOFLASH_ARCH", "sm_89")
    assert (config.load().db, config.load().arch, config.load().jobs) == ("env.db", "sm_89", 3)
    settings = config.load(db="line.db", arch="sm_90a", jobs=None)
    assert (settings.db, settings.arch, settings.jobs) == ("line.db", "sm_90a", 3)


def test_the_customary_variables_are_read_too(monkeypatch):
    monkeypatch.setenv("CUDA_ARCH", "sm_80")
    monkeypatch.setenv("DEBUG", "1")
    assert config.load().arch == "sm_80"
    assert config.load().debug is True
    monkeypatch.setenv("EVOFLASH_ARCH", "sm_90a")
    assert config.load().arch == "sm_90a"
    assert config.load(arch="sm_75").arch == "sm_75"


def test_another_programs_variables_are_not_read(monkeypatch):
    monkeypatch.setenv("ARCH", "x86_64")  # what kernel and package builds set
    monkeypatch.setenv("TARGET", "release")
    monkeypatch.setenv("DB", "other.db")
    settings = config.load()
    assert (settings.arch, settings.target, settings.db) == (None, "auto", "runs/evoflash.db")


def test_folders_from_the_environment(monkeypatch):
    monkeypatch.setenv("EVOFLASH_TEMPLATES", os.pathsep.join(["/one", "/two"]))
    assert [str(path) for path in config.load().templates] == ["/one", "/two"]


def test_an_unknown_key_is_refused(monkeypatch):
    write("jbos: 3")
    with pytest.raises(UsageError, match=r"setting 'jbos' does not exist"):
        config.load()
    write("{}")
    monkeypatch.setenv("EVOFLASH_JBOS", "3")
    with pytest.raises(UsageError, match=r"EVOFLASH_JBOS.*did you mean 'EVOFLASH_JOBS'"):
        config.load()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("jobs: 0", "setting jobs: .*given: 0"),
        ("jobs: many", "setting jobs: .*given: 'many'"),
        ("build_deadline_s: -1", "setting build_deadline_s"),
        ("- a list", "evoflash.yaml must contain a mapping"),
        ("a: [", "evoflash.yaml is not valid YAML"),
        ("7: 7", "evoflash.yaml|setting"),
    ],
)
def test_a_value_that_does_not_fit(text, words):
    write(text)
    with pytest.raises(UsageError, match=words):
        config.load()


def test_efforts_differ_by_target_and_can_be_overridden():
    cpu, cuda = config.effort("quick", "cpu"), config.effort("quick", "cuda")
    assert cpu.finalists == cuda.finalists
    assert cpu.budget < cuda.budget
    assert config.effort("quick", "cpu", budget=7, minutes=None) == cpu.model_copy(update={"budget": 7})
    for name in ("quick", "standard", "thorough"):
        assert config.effort(name, "cpu").samples == 100


@pytest.mark.parametrize(
    "values", [{"budget": 0}, {"budget": -3}, {"minutes": 0}, {"budget": "x"}, {"rounds": 1}, {"speed": 2}]
)
def test_an_effort_that_makes_no_sense(values):
    with pytest.raises(UsageError, match=next(iter(values))):
        config.effort("quick", "cpu", **values)


def test_an_unknown_effort():
    with pytest.raises(NotFoundError, match="unknown effort 'quik'; did you mean 'quick'"):
        config.effort("quik", "cpu")


def test_a_users_effort_and_shape(tmp_path):
    (tmp_path / "configs").mkdir()
    write("mine: {common: {budget: 3, minutes: 1}}", "configs/effort.yaml")
    write("mine: {b: 1, h: 2, s: 3, d: 4}", "configs/shapes.yaml")
    assert config.effort("mine", "cpu").budget == 3
    assert config.effort("quick", "cpu").budget > 3
    assert attention.parse("mine").label == "1x2x3x4 float16"
    assert "mission" in attention.shape_names()


# Shapes.


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mission", AttentionProblem.of(1, 8, 512, 64)),
        ("mission_causal", AttentionProblem.of(1, 8, 512, 64, causal=True)),
        ("d128_1k", AttentionProblem.of(1, 16, 1024, 128, dtype="bfloat16", causal=True)),
        ("b=1,h=8,s=512,d=64", AttentionProblem.of(1, 8, 512, 64)),
        (" b=2, h=8 ,kv=2,s=5,t=9,d=64,causal", AttentionProblem.of(2, 8, 5, 64, kv_heads=2, seq_kv=9, causal=True)),
        ("b=1,h=1,s=1,d=8,dtype=fp32,scale=0.5,causal=0", AttentionProblem.of(1, 1, 1, 8, dtype="float32", scale=0.5)),
        ("b=1,h=1,s=1,d=8,dtype=bfloat16", AttentionProblem.of(1, 1, 1, 8, dtype="bfloat16")),
    ],
)
def test_a_shape_as_it_is_typed(text, problem):
    assert attention.parse(text) == problem


def test_every_shape_of_the_configuration_is_a_problem():
    for name in attention.shape_names():
        assert attention.parse(name).flops > 0
    assert attention.parse("mission", "bf16").dtype == "bfloat16"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("misson", "unknown shape 'misson'; did you mean 'mission'"),
        ("b=1,h=8,s=512", "'d' is missing; write b=1"),
        ("b=1,h=8,s=512,d=64,x=3", "unknown field 'x'; write"),
        ("b=1,h=8,s=512,d=64,big", "cannot read 'big'"),
        ("b=0,h=8,s=512,d=64", "batch: .*greater than or equal to 1"),
        ("b=1.5,h=8,s=512,d=64", "batch"),
        ("b=one,h=8,s=512,d=64", "batch"),
        ("b=1,h=8,kv=3,s=512,d=64", r"heads \(8\) must be a multiple of kv_heads \(3\)"),
        ("b=1,h=8,s=512,d=64,dtype=fp15", "unknown dtype 'fp15'; did you mean 'fp16'"),
        ("b=1,h=8,s=512,d=64,causal=maybe", "causal"),
        ("b=1,h=8,s=512,d=64,scale=nan", "scale"),
        ("", "unknown shape ''"),
    ],
)
def test_a_shape_that_is_none(text, words):
    with pytest.raises(UsageError, match=words):
        attention.parse(text)


def test_a_shape_of_the_configuration_that_is_no_mapping(tmp_path):
    (tmp_path / "configs").mkdir()
    write("mine: 7", "configs/shapes.yaml")
    with pytest.raises(UsageError, match="mine"):
        attention.parse("mine")


# Hints.


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("wmm", ["wmma", "scalar"], "did you mean 'wmma'?"),
        ("zzz", ["b", "a"], "choose from: a, b"),
        ("zzz", [], "none exist yet"),
    ],
)
def test_the_hint_for_an_unknown_name(name, known, hint):
    assert str(unknown("family", name, known)) == f"unknown family {name!r}; {hint}"


def test_exit_codes_are_promises():
    from evoflash import errors

    codes = {
        errors.UsageError: 2,
        errors.SpaceError: 2,
        errors.NotFoundError: 2,
        errors.MissingError: 3,
        errors.StorageError: 3,
        errors.WorkerError: 3,
        errors.NothingCorrectError: 1,
    }
    assert {kind: kind.exit_code for kind in codes} == codes


def test_a_wrong_setting_of_the_file_names_it_and_others_do_not(tmp_path, monkeypatch):
    (tmp_path / "evoflash.yaml").write_text("debug: maybe\njobs: 2\n")
    with pytest.raises(UsageError, match=r"^evoflash\.yaml: setting debug: .*given: 'maybe'"):
        config.load()
    with pytest.raises(UsageError, match=r"^setting jobs: .*given: 0"):
        config.load(jobs=0, debug=False)
    monkeypatch.setenv("DEBUG", "perhaps")
    with pytest.raises(UsageError, match=r"^setting debug: .*given: 'perhaps'"):
        config.load()


@pytest.mark.parametrize("content", ["quick: 3", "quick: {common: [1]}", "quick: {cpu: null}", "quick: {cpu: {1: 2}}"])
def test_a_malformed_preset_names_its_file(tmp_path, content):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "effort.yaml").write_text(content)
    with pytest.raises(UsageError, match=r"effort 'quick' of configs/effort\.yaml"):
        config.effort("quick", "cpu")


@pytest.mark.parametrize(
    "fields", ["3", "{b: 1}", "{b: [1], h: 1, s: 32, d: 64}", "{b: 1, h: 1, s: 32, d: 64, dtype: [1]}"]
)
def test_a_malformed_shape_names_its_file(tmp_path, fields):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "shapes.yaml").write_text(f"mine: {fields}")
    with pytest.raises(UsageError, match=r"shape 'mine' of configs/shapes\.yaml"):
        attention.parse("mine")
