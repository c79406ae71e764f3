"""Which move is next: a discounted Thompson sampler of improvement per evaluation."""

from __future__ import annotations

import random
from collections.abc import Sequence

DISCOUNT = 0.98  # of what is known, with each result: what helped at the start need not help at the end
PRIOR, HOPE = 1.0, 0.3  # a move is believed to have had one result that paid this much


class Bandit:
    """Arms that are paid a reward from 0 to 1 a pull.

    The reward of an arm has a Gamma posterior whose counts decay (Raj and Kalyani, "Taming non-stationary bandits",
    arXiv 1707.09727, with Gamma for Beta, since a reward is no coin).
    """

    def __init__(self, arms: Sequence[str]):
        self._rewards = dict.fromkeys(arms, 0.0)
        self._pulls = dict.fromkeys(arms, 0.0)

    def choose(self, arms: Sequence[str], rng: random.Random) -> str:
        """One of these arms: the one whose reward, drawn from what is believed of it, is the highest."""
        drawn = {
            arm: rng.gammavariate(HOPE * PRIOR + self._rewards[arm], 1.0) / (PRIOR + self._pulls[arm]) for arm in arms
        }
        return max(drawn, key=lambda arm: drawn[arm])

    def pay(self, arm: str, reward: float) -> None:
        """A result of an arm."""
        for each in self._rewards:
            self._rewards[each] *= DISCOUNT
            self._pulls[each] *= DISCOUNT
        self._rewards[arm] += reward
        self._pulls[arm] += 1
