"""The text that people read: what goes, what stays because it is not certain, and that the machine code is the same."""

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from evoflash import targets
from evoflash.codegen.template import load, load_all
from evoflash.flattening import flatten
from evoflash.problems import attention
from evoflash.targets import cuda, nvrtc

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from machine_code import FAMILIES, sections_of, shapes_of

ROOT = Path(__file__).parents[1]
CONFIG = """\
enum class Schedule { kTiles, kPersistent };
struct Half { unsigned short bits; };
struct Config {
  using Element = Half;
  static constexpr int kHeadDim = 64, kBlock = 16;
  static constexpr int kSteps = kHeadDim / kBlock;
  static constexpr bool kIsCausal = false;
  static constexpr auto kSchedule = Schedule::kPersistent;
};
"""
USE = 'extern "C" int use(int x) { return f<Config>(x); }\n'


SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))]


def function(body: str) -> str:
    return CONFIG + "template <class Config>\nint f(int x) {\n" + body + "  return x;\n}\n" + USE


def body_of(text: str) -> str:
    return text.split("int f(int x) {\n")[1].split("  return x;\n}\n")[0]


@pytest.mark.parametrize(
    ("body", "flat"),
    [
        ("  if constexpr (Config::kIsCausal) {\n    x = 1;\n  }\n", ""),
        ("  // Why.\n  if constexpr (Config::kIsCausal) x = 1;  // this\n\n", ""),
        ("  if constexpr (!Config::kIsCausal) {\n    // Why.\n    x = 1;\n  } else {\n    x = 2;\n  }\n",
         "  // Why.\n  x = 1;\n"),
        ("  if constexpr (Config::kSteps > 4) {\n    x = 1;\n  } else if (x) {\n    x = 2;\n  }\n",
         "  if (x) {\n    x = 2;\n  }\n"),
        ("  if (x) {\n    x = 1;\n  } else if constexpr (Config::kIsCausal) {\n    x = 2;\n  }\n",
         "  if (x) {\n    x = 1;\n  }\n"),
        ("  if (x) {\n  } else if constexpr (Config::kSteps == 4) {\n    x = 2;\n  }\n",
         "  if (x) {\n  } else {\n    x = 2;\n  }\n"),
        ("  for (; x < 9; ++x)\n    if constexpr (Config::kIsCausal) ++x;\n", "  for (; x < 9; ++x)\n    {}\n"),
        ("  if constexpr (Config::kSchedule == Schedule::kTiles) x = 1;\n", ""),
        ("  if constexpr (sizeof(typename Config::Element) == 2) x = 1;\n", "  x = 1;\n"),
        ("  if constexpr (Config::kIsCausal && sizeof(x) == 4) x = 1;\n", ""),
        ("  constexpr int kTwo = Config::kSteps / 2;\n  if constexpr (kTwo == 2) x = 1;\n", "  x = 1;\n"),
        ("  x += Config::kIsCausal ? 1 : 2;\n", "  x += 2;\n"),
        # A name of the branch is one of the block's, too: its braces stay.
        ("  if constexpr (Config::kSteps == 4) {\n    int y = x;\n    x = y + 1;\n  }\n  int y = 2;\n  x += y;\n",
         "  {\n    int y = x;\n    x = y + 1;\n  }\n  int y = 2;\n  x += y;\n"),
        ("  if constexpr (Config::kSteps == 4) {\n    int y = x;\n    x = y + 1;\n  }\n",
         "  int y = x;\n  x = y + 1;\n"),
        ("  if constexpr (Config::kSteps == 4) {\n    int x = 3;\n  }\n", "  {\n    int x = 3;\n  }\n"),
    ],
)  # fmt: skip
def test_a_choice_that_follows_from_the_constants_is_made(body, flat):
    text = flatten(function(body))
    assert body_of(text) == flat
    assert flatten(text) == text


@pytest.mark.parametrize(
    "text",
    [
        # Two configurations: no one value.
        function("  if constexpr (Config::kIsCausal) x = 1;\n")
        + "struct Other {\n  static constexpr bool kIsCausal = true;\n};\n"
        + 'extern "C" int other(int x) { return f<Other>(x); }\n',
        # A name that a local one hides.
        function("  const bool kIsCausal = x;\n  if constexpr (sizeof(kIsCausal) == 1) x = 1;\n"),
        function("  constexpr bool kA = true;\n"
                 "  {\n    constexpr bool kA = false;\n    if constexpr (kA) x = 1;\n  }\n"),
        # Macros, and conditions of the preprocessor that cut a branch in two.
        "#define LIMIT 4\n" + function("  if constexpr (Config::kSteps > LIMIT) x = 1;\n"),
        function("  if constexpr (Config::kIsCausal) {\n#ifdef A\n    x = 1;\n  }\n#else\n    x = 2;\n  }\n#endif\n"),
        function("  if constexpr (Config::kSteps / 0.5 > 1) x = 1;\n"),
        function("  if constexpr (2147483647 + Config::kSteps > 0) x = 1;\n"),
        function("  if constexpr (Config::kSteps - 5 < sizeof(x)) x = 1;\n"),
        function("  x += Config::kIsCausal ? 1u : 2;\n"),
        'template <int N>\nint g(int (&a)[N]) {\n  if constexpr (N == 2) return 1;\n  return a[0];\n}\n'
        'extern "C" int use(int x) {\n  int a[2] = {x, x}, b[3] = {x, x, x};\n  return g(a) + g(b);\n}\n',
        "#ifdef A\nconstexpr bool kA = true;\n#else\nconstexpr bool kA = false;\n#endif\n"
        'extern "C" int use(int x) {\n  if constexpr (kA) x = 1;\n  return x;\n}\n',
    ],
)  # fmt: skip
def test_what_is_not_certain_stays(text):
    assert flatten(text).replace("\n", "") == text.replace("\n", "")


def test_what_nothing_refers_to_goes():
    text = """\
// The head.
#ifndef ONE_H
#define ONE_H
namespace a {
// Only g needs it.
constexpr int kUnused = 3;

static inline int g(int x) { return x + kUnused; }
struct Unused {
  int x;
};
Unused operator+(Unused one, Unused two) { return {one.x + two.x}; }

struct Used {
  int x;
};
Used operator+(Used one, Used two) { return {one.x + two.x}; }
}  // namespace a
#endif  // ONE_H


// More.
namespace a {
static int computed = g(1);
}  // namespace a

namespace b {
int h() { return h(); }
}  // namespace b

extern "C" int use(int x) { return (a::Used{x} + a::Used{x}).x; }
"""
    kept = """\
// The head.
namespace a {
// Only g needs it.
constexpr int kUnused = 3;

static inline int g(int x) { return x + kUnused; }

struct Used {
  int x;
};
Used operator+(Used one, Used two) { return {one.x + two.x}; }

// More.
static int computed = g(1);
}  // namespace a

extern "C" int use(int x) { return (a::Used{x} + a::Used{x}).x; }
"""
    assert flatten(text) == kept
    dropped = flatten(text.replace("static int computed = g(1);\n", ""))
    assert "kUnused" not in dropped
    assert "Only g" not in dropped


def test_a_raw_string_keeps_its_lines():
    text = 'extern "C" const char *use() {\n  return R"(a\n\n\n  #if\n  if constexpr (false) {}\n)";\n}\n'
    assert flatten(text) == text


def test_text_that_is_no_cpp_is_left_alone():
    for text in ("", "{% if %}\n", "int f( {\n", "#if A\n", "#endif\nint x;\n", "template <\n"):
        assert flatten(text).strip() == text.strip()


def compiled(text: str, folder: Path, *flags: str) -> str:
    (folder / "kernel.cpp").write_text(text)
    command = ["g++", "-std=c++17", "-O2", "-S", "-o", "-", *flags, "kernel.cpp"]
    assembly = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    assembly = re.sub(r'^# \d+ "kernel\.cpp" \d+$', "", assembly, flags=re.MULTILINE)  # where inline assembly stood
    return re.sub(r"\.L([A-Z]*)\d+", r".L\1", assembly)  # labels are numbered through all functions


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", sorted(name for name, each in load_all().items() if each.manifest.target == "cpu"))
def test_cpu_kernels_compile_to_the_same_assembly(family, seed, tmp_path):
    template, facts = load(family), {**targets.detect("cpu").facts}
    problem = attention.parse("mission", "bfloat16")
    if template.refusals(problem, facts):
        pytest.skip("; ".join(template.refusals(problem, facts)))
    genome = template.space([problem], facts).sample(random.Random(seed))
    text = template.render(genome, problem, facts).text
    flags = ("-march=native", "-fno-math-errno", "-fopenmp")
    assert compiled(flatten(text), tmp_path, *flags) == compiled(text, tmp_path, *flags)


def code_of(cubin: bytes) -> dict[str, bytes]:
    """Instructions and constants by kernel. Constants that nothing reads are in other sections, as variables."""
    return {name: each for name, each in sections_of(cubin).items() if re.match(r"\.(text|nv\.constant[0-3])\b", name)}


@pytest.mark.nvcc
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", sorted(name for name, arch in FAMILIES.items() if arch.startswith("sm_")))
def test_cuda_kernels_compile_to_the_same_machine_code(family, seed, tmp_path):
    library = cuda.nvrtc_library()
    if library is None:
        pytest.skip("there is no NVRTC")
    target = cuda.of_arch(FAMILIES[family])
    rng = random.Random(seed)
    problem = rng.choice(shapes_of(family, target.facts))
    genome = load(family).space([problem], target.facts).sample(rng)
    text = load(family).render(genome, problem, target.facts).text
    flat = flatten(text)
    options = [f"--gpu-architecture={target.arch}", *cuda.NVRTC_FLAGS.split(), f"-I{cuda.toolkit() / 'include'}"]
    one, two = (
        code_of(nvrtc.compile_cubin(nvrtc.load(str(library)), each.encode(), "kernel.cu", options)[0])
        for each in (text, flat)
    )
    assert one == two
    host = ("-x", "c++", "-DEVOFLASH_HOST_ONLY", '-DEVOFLASH_CUBIN="device.cubin"', f"-I{cuda.toolkit() / 'include'}")
    (tmp_path / "device.cubin").touch()
    assert compiled(flat, tmp_path, *host) == compiled(text, tmp_path, *host)
    assert flatten(flat) == flat
    assert "\n\n\n" not in flat
