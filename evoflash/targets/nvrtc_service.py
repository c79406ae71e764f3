"""Serves compilations by NVRTC: to load the library takes 40 ms, a fifth of what a kernel takes to compile.

`python -I -S nvrtc_service.py LIBRARY FD` reads requests from the socket with that file descriptor and answers each,
until the other end is closed. A request and an answer are a line of JSON: [folder, arch, source, cubin, option …] with
paths relative to the folder, and [exit code, the compiler's output].
"""

import contextlib
import ctypes
import json
import os
import runpy
import sys

# Parameters of mallopt (malloc.h of glibc), and the most that glibc takes for the second.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
NEVER, LARGEST = 2**31 - 1, 32 * 2**20


def keep_memory() -> None:
    """Lets malloc keep what is freed, for the next build.

    It would give it back to the system otherwise, and each build would begin with 2,400 page faults. Of the C
    libraries only glibc is asked.
    """
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, NEVER)
        mallopt(M_MMAP_THRESHOLD, LARGEST)


def main() -> None:
    """Entry point."""
    path, descriptor = sys.argv[1:]
    keep_memory()
    nvrtc = runpy.run_path(os.path.join(os.path.dirname(__file__), "nvrtc.py"))
    library = nvrtc["load"](path)
    with open(int(descriptor), "rb") as requests, open(int(descriptor), "wb", closefd=False) as answers:
        for line in requests:
            folder, *arguments = json.loads(line)
            os.chdir(folder)
            answers.write(json.dumps(nvrtc["compile_file"](library, *arguments)).encode() + b"\n")
            answers.flush()


if __name__ == "__main__":
    main()
