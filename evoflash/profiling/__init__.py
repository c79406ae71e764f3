"""What bounds a kernel: its counters, and its time beside what the device attains at best."""

from evoflash.profiling.profiler import Profiler

__all__ = ["Profiler"]
