"""Files of recordings: CSV, Kernel Tuner's cache and T4."""

from evoflash.replay.formats.reading import read

__all__ = ["read"]
