"""Compiles device code to a cubin with NVRTC, in half the time of nvcc: no host compiler, no runtime headers.

`python -I -S nvrtc.py LIBRARY ARCH SOURCE CUBIN [OPTION …]` compiles one file and prints the compiler's output. Builds
run it as a separate program, so that a compiler that hangs or crashes does not affect the driver. It only imports
modules that load fast.
"""

import ctypes
import os
import sys


class CompilationError(Exception):
    """NVRTC rejected the source; the message is its log."""


def load(path: str) -> ctypes.CDLL:
    """Loads the library, after its built-ins from the same folder, which it would not find by itself."""
    folder = os.path.dirname(path)
    for name in sorted(os.listdir(folder)):
        if name.startswith("libnvrtc-builtins.so"):
            ctypes.CDLL(os.path.join(folder, name), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(path)


def version(path: str) -> str:
    """The library's version, e.g. "13.0"."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    code = ctypes.CDLL(path).nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    if code:
        raise OSError(f"nvrtcVersion of {path} fails with code {code}")
    return f"{major.value}.{minor.value}"


def compile_cubin(library: ctypes.CDLL, source: bytes, name: str, options: list[str]) -> tuple[bytes, str]:
    """Compiles a source; returns the cubin and the compiler's output.

    Raises:
        CompilationError: when it does not compile.
    """
    program = ctypes.c_void_p()
    library.nvrtcCreateProgram(ctypes.byref(program), source, name.encode(), 0, None, None)
    try:
        arguments = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        code = library.nvrtcCompileProgram(program, len(options), arguments)
        log = _fetch(library, program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
        if code:
            raise CompilationError(log or f"nvrtcCompileProgram: error {code}")
        return _fetch(library, program, "CUBIN"), log
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _fetch(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, buffer)
    return buffer.raw[: size.value]


def compile_file(library: ctypes.CDLL, arch: str, source: str, cubin: str, *options: str) -> tuple[int, str]:
    """Compiles a file into another; returns 0, or 1 when it does not compile, and the compiler's output."""
    with open(source, "rb") as file:
        text = file.read()
    try:
        binary, log = compile_cubin(library, text, source, [f"--gpu-architecture={arch}", *options])
    except CompilationError as error:
        return 1, f"{error}\n"
    with open(cubin, "wb") as file:
        file.write(binary)
    return 0, log


def main() -> int:
    """Entry point; returns 1 when the source does not compile."""
    path, *arguments = sys.argv[1:]
    code, log = compile_file(load(path), *arguments)
    print(log, end="")
    return code


if __name__ == "__main__":
    sys.exit(main())
