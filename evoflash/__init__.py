"""evoflash: evolutionary search for attention kernels.

Start reading in `evoflash/search.py`; `docs/architecture.md` is the map of the rest.
"""

__version__ = "0.1.0"
