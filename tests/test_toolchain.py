import os
import shutil
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import pytest

from evoflash import targets
from evoflash.codegen.source import Source
from evoflash.codegen.system_headers import system_headers
from evoflash.codegen.template import load
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.genome import Genome
from evoflash.core.status import Status
from evoflash.errors import MissingError, StorageError
from evoflash.targets.base import of_cxx
from tests.helpers import BROKEN, PROBLEM


@pytest.fixture(scope="module")
def target():
    return targets.detect("cpu")


@pytest.fixture
def toolchain(target, tmp_path):
    return Toolchain(target, tmp_path / "cache", deadline_s=60)


def source(text: str = "extern int answer() { return 42; }\n") -> Source:
    return Source(text, "c++")


def endless(target) -> Source:
    template = load("broken", [BROKEN])
    return template.render(Genome({"fault": "compiles_for_ever", "work": 1}), PROBLEM, target.facts)


def of_shell(folder: Path, name: str, program: str) -> str:
    """A program that calls another, as ccache does."""
    (folder / name).write_text(f"#!/bin/sh\n{program}\n")
    (folder / name).chmod(0o755)
    return str(folder / name)


@pytest.mark.parametrize(
    ("command", "instead"),
    [("gcc", "g++"), ("gcc -m64", "g++ -m64"), ("cc", "c++"), ("{launcher} gcc -O1", "{launcher} g++ -O1")],
)
def test_a_compiler_of_c_is_refused_before_it_builds(tmp_path, monkeypatch, command, instead):
    launcher = of_shell(tmp_path, "launcher", 'exec "$@"')
    command, instead = command.format(launcher=launcher), instead.format(launcher=launcher)
    monkeypatch.setenv("CXX", command)
    with pytest.raises(MissingError) as raised:
        targets.detect("cpu")
    assert str(raised.value) == f"CXX={command} is a C compiler; use {instead}"


def test_a_compiler_that_builds_nothing_is_refused_and_not_the_kernels(monkeypatch):
    monkeypatch.setenv("CXX", "g++ -no-such-option")
    with pytest.raises(MissingError, match=r"CXX=g\+\+ -no-such-option builds no program: .*-no-such-option.*; fix it"):
        targets.detect("cpu")


@pytest.mark.parametrize("command", ["g++", "g++ -m64", "c++", "{launcher} g++ -O1"])
def test_a_compiler_of_cpp_builds_with_arguments_and_behind_a_launcher(tmp_path, monkeypatch, command):
    monkeypatch.setenv("CXX", command.format(launcher=of_shell(tmp_path, "launcher", 'exec "$@"')))
    build = Toolchain(targets.detect("cpu"), tmp_path / "cache").build(source("int answer() { throw 42; }\n"))
    assert build.library is not None


@pytest.mark.parametrize(
    ("command", "instead"),
    [
        ("/opt/gcc/bin/x86_64-linux-gnu-gcc-13", "/opt/gcc/bin/x86_64-linux-gnu-g++-13"),
        ("ccache clang-18 -O1", "ccache clang++-18 -O1"),
        ("tcc", "g++"),
    ],
)
def test_the_compiler_to_use_instead(command, instead):
    assert of_cxx(command) == instead


def test_a_compiler_that_cannot_be_run_is_said(tmp_path, monkeypatch):
    (tmp_path / "broken").write_text("no program")
    (tmp_path / "broken").chmod(0o755)
    monkeypatch.setenv("CXX", str(tmp_path / "broken"))
    with pytest.raises(MissingError, match=r"broken cannot be run .*; set it to g\+\+"):
        targets.detect("cpu")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def compilers_in(folder: Path) -> list[str]:
    """Command lines of processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder) in os.readlink(process / "cwd"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            pass  # gone, or another user's
    return found


def wait_until(condition, seconds: float = 60.0) -> bool:
    """A generous deadline for what must happen; no test is about how soon."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_a_second_build_comes_from_the_cache(toolchain, target):
    first = toolchain.build(source())
    assert first.library is not None
    assert first.library.read_bytes()[:4] == b"\x7fELF"
    assert not first.report.cached
    assert first.report.seconds > 0
    for again in (toolchain, Toolchain(target, toolchain.cache)):
        second = again.build(source())
        assert second.library == first.library
        assert second.report.cached
        assert second.report.seconds == 0
        assert second.report.binary_digest == first.report.binary_digest
    other = toolchain.build(source("extern int answer() { return 43; }\n"))
    assert other.library != first.library
    assert other.report.binary_digest != first.report.binary_digest


def test_equal_machine_code_has_an_equal_digest(toolchain):
    plain, commented = toolchain.build(source()), toolchain.build(source("// the same\n" + source().text))
    assert plain.library != commented.library
    assert plain.report.binary_digest == commented.report.binary_digest


VECTORS = """
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <math.h>
extern double answer() { return sqrt(1764.0); }
"""


def test_system_headers_are_precompiled_once_for_many_sources(target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the default cache is relative to the working directory
    plain, many = Toolchain(target, Path("plain")), Toolchain(target, Path("many"), many=True)
    sources = [source(f"// {number}{VECTORS}") for number in range(3)]
    with ThreadPoolExecutor(3) as pool:
        builds = list(pool.map(many.build, sources))
    (header,) = many.cache.glob("*/*/headers.h")
    assert header.read_text() == "#if defined(__x86_64__)\n#include <immintrin.h>\n#endif\n#include <math.h>\n"
    assert header.with_name("headers.h.gch").stat().st_size > 1e6
    commands = [each.read_text() for each in many.cache.glob("*/*/build.ninja") if each.parent != header.parent]
    assert len(commands) == len(builds)
    assert all(str(header.absolute()) in each.replace("$\n      ", "") for each in commands)
    assert all(build.status is None for build in builds)
    assert builds[0].report.binary_digest == plain.build(sources[0]).report.binary_digest
    assert many.key(sources[0]) == plain.key(sources[0])


def test_a_cache_without_its_precompiled_headers_has_them_made_again(target, tmp_path):
    toolchain = Toolchain(target, tmp_path / "cache", many=True)
    toolchain.build(source(VECTORS))
    shutil.rmtree(toolchain.cache)
    assert toolchain.build(source(f"// again{VECTORS}")).library is not None
    (precompiled,) = toolchain.cache.glob("*/*/headers.h.gch")
    precompiled.write_bytes(precompiled.read_bytes()[:100_000])  # as a full disk leaves it
    assert Toolchain(target, toolchain.cache, many=True).build(source(f"// then{VECTORS}")).library is not None
    assert precompiled.stat().st_size > 1e6


def test_headers_that_cannot_be_compiled_are_told_of_by_the_source(target, tmp_path):
    build = Toolchain(target, tmp_path / "cache", many=True).build(source("#include <no_such_header.h>\n"))
    assert build.status is Status.BUILD_FAILED
    assert "no_such_header.h" in build.reason
    assert build.reason.startswith("kernel.cpp")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('#pragma once\n#include <math.h>  // sqrt\n#include "own.h"\n', "#include <math.h>\n"),
        ("#ifdef OWN\n#if defined(__AVX__)\n#include <a.h>\n#endif\n#else\n#include <b.h>\n#endif\n", ""),
        ("#ifdef OWN\n#endif\n#include <a.h>\n", "#include <a.h>\n"),
        ("#define _GNU_SOURCE\n#include <math.h>\n", ""),
        ("#define NDEBUG\n#include <assert.h>\n", ""),
        ('#pragma GCC target("avx2")\n#include <immintrin.h>\n', ""),
        ("#if defined(__AVX512F__) && !defined(__clang__)\nint a;\n#endif\n", ""),
        (
            "#if defined(__aarch64__)\n#include <arm_neon.h>\n#else\n#include <immintrin.h>\n#endif\n",
            "#if defined(__aarch64__)\n#include <arm_neon.h>\n#else\n#include <immintrin.h>\n#endif\n",
        ),
    ],
)
def test_system_headers_are_those_that_a_source_includes_anyway(text, lines):
    assert system_headers(text) == lines


def test_flags_are_part_of_the_key(target, tmp_path):
    debug = targets.detect("cpu", debug=True)
    assert Toolchain(target, tmp_path).key(source()) != Toolchain(debug, tmp_path).key(source())


@pytest.mark.parametrize("damage", ["library", "report", "library_gone", "report_gone", "empty_folder"])
def test_a_damaged_entry_is_built_again(toolchain, damage):
    first = toolchain.build(source())
    assert first.library is not None
    report = first.library.parent / "report.json"
    whole = first.library.read_bytes()
    if damage == "library":
        first.library.write_bytes(whole[:100])
    elif damage == "report":
        report.write_text("{")
    if damage in ("library_gone", "empty_folder"):
        first.library.unlink()
    if damage in ("report_gone", "empty_folder"):
        report.unlink()
    second = toolchain.build(source())
    assert not second.report.cached
    assert second.library is not None
    assert second.library.read_bytes() == whole
    assert toolchain.build(source()).report.cached


def test_nothing_but_the_entry_stays_behind(toolchain):
    library = toolchain.build(source()).library
    toolchain.build(source("no C++"))
    assert library is not None
    assert {path.parent for path in files(toolchain.cache)} == {library.parent}
    assert [path.name for path in toolchain.cache.iterdir()] == [library.parent.parent.name]


def test_many_builds_of_one_source_at_once(target, tmp_path):
    chains = [Toolchain(target, tmp_path / "cache") for _ in range(2)]
    with ThreadPoolExecutor(6) as pool:
        builds = list(pool.map(lambda number: chains[number % 2].build(source()), range(6)))
    assert len({build.library for build in builds}) == 1
    assert all(build.library is not None and build.library.is_file() for build in builds)


def test_a_refused_source_says_the_compilers_first_error(toolchain):
    build = toolchain.build(source("int a;\nint b = missing_name + also_missing;\n"))
    assert build.status is Status.BUILD_FAILED
    assert build.library is None
    assert build.reason.startswith("kernel.cpp:2:")
    assert "error" in build.reason
    assert "missing_name" in build.reason
    assert "also_missing" in build.report.log
    assert str(toolchain.cache) not in build.report.log
    assert not toolchain.build(source("int a;\nint b = missing_name + also_missing;\n")).report.cached


def test_a_failed_build_is_not_kept(toolchain):
    toolchain.build(source("no C++"))
    assert files(toolchain.cache) == []


def test_a_build_that_does_not_end_is_killed(target, tmp_path):
    toolchain = Toolchain(target, tmp_path / "cache", deadline_s=1.5)
    build = toolchain.build(endless(target))
    assert build.status is Status.BUILD_TIMEOUT
    assert build.reason == "the build took longer than 1.5 s"
    assert build.library is None
    assert wait_until(lambda: not compilers_in(toolchain.cache))
    assert files(toolchain.cache) == []


def test_stop_ends_the_builds_that_run(target, tmp_path):
    toolchain = Toolchain(target, tmp_path / "cache", deadline_s=300)
    with ThreadPoolExecutor(1) as pool:
        build = pool.submit(toolchain.build, endless(target))
        assert wait_until(lambda: any("cc1plus" in each for each in compilers_in(toolchain.cache)))
        toolchain.stop()
        with pytest.raises(CancelledError):
            build.result(timeout=60)
    assert wait_until(lambda: not compilers_in(toolchain.cache))
    with pytest.raises(CancelledError):
        toolchain.build(source())


def test_stop_while_a_build_begins(target, tmp_path):
    """Whatever the moment, a build either ends or is cancelled; none hangs."""
    for delay in (0.0, 0.005, 0.02):
        toolchain = Toolchain(target, tmp_path / "cache", deadline_s=300)
        timer = threading.Timer(delay, toolchain.stop)
        with ThreadPoolExecutor(1) as pool:
            build = pool.submit(toolchain.build, endless(target))
            timer.start()
            with pytest.raises(CancelledError):
                build.result(timeout=60)


@pytest.mark.parametrize("where", ["file", "under_a_file"])
def test_a_cache_that_cannot_be_written(target, tmp_path, where):
    (tmp_path / "file").write_text("")
    cache = tmp_path / "file" if where == "file" else tmp_path / "file" / "cache"
    toolchain = Toolchain(target, cache)
    for attempt in (lambda: toolchain.build(source()), toolchain.require_writable):
        with pytest.raises(StorageError, match="choose another folder") as raised:
            attempt()
        assert str(cache) in str(raised.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_without_permission(target, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="choose another folder"):
        Toolchain(target, tmp_path / "cache").build(source())
