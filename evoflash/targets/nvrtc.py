"""Device code to a cubin by NVRTC, in half the time of nvcc: no host compiler runs, and no runtime headers are read.

`python -I -S nvrtc.py LIBRARY ARCH SOURCE CUBIN [OPTION …]` compiles one file and prints the compiler's words. A build
runs it as a program, since a compiler that hangs or crashes must not take the driver with it; so it imports only what
starts fast.
"""

import ctypes
import glob
import os
import sys


class CompilationError(Exception):
    """NVRTC refused the source; the message is its log."""


def load(path: str) -> ctypes.CDLL:
    """The library. Its built-ins stand beside it, where it does not look for them by itself."""
    for builtins in sorted(glob.glob(os.path.join(os.path.dirname(path), "libnvrtc-builtins.so*"))):
        ctypes.CDLL(builtins, mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(path)


def version(path: str) -> str:
    """The library's version, e.g. "13.0"."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    code = ctypes.CDLL(path).nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    if code:
        raise OSError(f"nvrtcVersion of {path} fails with code {code}")
    return f"{major.value}.{minor.value}"


def compile_cubin(library: ctypes.CDLL, source: bytes, name: str, options: list[str]) -> tuple[bytes, str]:
    """The cubin of a source, and the compiler's words.

    Raises:
        CompilationError: when it does not compile.
    """
    program = ctypes.c_void_p()
    library.nvrtcCreateProgram(ctypes.byref(program), source, name.encode(), 0, None, None)
    arguments = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    code = library.nvrtcCompileProgram(program, len(options), arguments)
    log = _fetch(library, program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
    if code:
        raise CompilationError(log or f"nvrtcCompileProgram: error {code}")
    return _fetch(library, program, "CUBIN"), log


def _fetch(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, buffer)
    return buffer.raw[: size.value]


def main() -> int:
    """Compiles; the exit code is 1 when the source does not compile."""
    path, arch, source, cubin, *options = sys.argv[1:]
    with open(source, "rb") as file:
        text = file.read()
    try:
        binary, log = compile_cubin(load(path), text, source, [f"--gpu-architecture={arch}", *options])
    except CompilationError as error:
        print(error)
        return 1
    with open(cubin, "wb") as file:
        file.write(binary)
    print(log, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
