"""How long this process's threads have waited for a processor core that other programs had."""

from __future__ import annotations

import os


class CoreWaits:
    """Reads Linux's counters of the time in which threads could have run and did not (`/proc/*/schedstat`).

    Elsewhere, and where the kernel keeps no such counters, nothing is known of waits.
    """

    FOLDER = "/proc/self/task"

    def __init__(self) -> None:
        self._files: dict[str, int] = {}  # open files by thread: opening them takes longer than reading

    def read_us(self) -> float | None:
        """Microseconds so far, summed over the threads; None where it is not known."""
        try:
            threads = os.listdir(self.FOLDER)
        except OSError:
            return None
        for ended in self._files.keys() - set(threads):
            os.close(self._files.pop(ended))
        waited = [each for each in map(self._read_us, threads) if each is not None]
        return sum(waited) if waited else None

    def _read_us(self, thread: str) -> float | None:
        try:
            if thread not in self._files:
                self._files[thread] = os.open(f"{self.FOLDER}/{thread}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
            _, waited_ns, _ = os.pread(self._files[thread], 100, 0).split()
        except (OSError, ValueError):  # it has just ended
            return None
        return int(waited_ns) / 1e3

    def close(self) -> None:
        """Closes the files."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()
