"""Any strategy on recorded measurements, with no device: how searches are compared, and how ours is tuned."""

from evoflash.replay.measures import Standing, standing
from evoflash.replay.recording import Recording
from evoflash.replay.simulation import Trace, simulate

__all__ = ["Recording", "Standing", "Trace", "simulate", "standing"]
