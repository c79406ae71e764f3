"""The version of evoflash, which is also that of the distribution."""

__version__ = "0.1.0"
