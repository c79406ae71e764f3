"""evoflash: evolutionary search for attention kernels.

Start reading in `evoflash/search.py`; `docs/architecture.md` maps the rest.
"""

__version__ = "0.1.0"
