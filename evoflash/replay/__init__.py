"""Replay of strategies on recorded measurements, without a device, for comparing and tuning them."""

from evoflash.replay.measures import Standing, standing
from evoflash.replay.recording import Recording
from evoflash.replay.simulation import Trace, simulate

__all__ = ["Recording", "Standing", "Trace", "simulate", "standing"]
