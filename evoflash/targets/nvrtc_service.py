"""Serves compilations by NVRTC: to load the library takes 40 ms, a fifth of what a kernel takes to compile.

`python -I -S nvrtc_service.py LIBRARY FD` reads requests from the socket with that file descriptor and answers each,
until the other end is closed. A request and an answer are a line of JSON: [folder, arch, source, cubin, option …] with
paths relative to the folder, and [exit code, the compiler's output].
"""

import json
import os
import runpy
import sys


def main() -> None:
    """Entry point."""
    path, descriptor = sys.argv[1:]
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
