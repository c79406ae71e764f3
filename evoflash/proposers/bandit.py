"""Choice of the next move: discounted Thompson sampling on the reward per evaluation."""

from __future__ import annotations

import random
from collections.abc import Sequence

DISCOUNT = 0.98  # decay of the counts per result, since moves that help early need not help late
PRIOR_PULLS = 1.0  # the prior of an arm counts as this many pulls
PRIOR_REWARD = 0.3  # with this mean reward


class Bandit:
    """A bandit whose arms have rewards between 0 and 1.

    The reward of an arm has a Gamma posterior with decaying counts (Raj and Kalyani, "Taming non-stationary bandits",
    arXiv 1707.09727, with Gamma instead of Beta because rewards are not binary).
    """

    def __init__(self, arms: Sequence[str]):
        self._rewards = dict.fromkeys(arms, 0.0)
        self._pulls = dict.fromkeys(arms, 0.0)

    def choose(self, arms: Sequence[str], rng: random.Random) -> str:
        """Draws a reward for each arm from its posterior; returns the arm with the largest."""
        drawn = {
            arm: rng.gammavariate(PRIOR_REWARD * PRIOR_PULLS + self._rewards[arm], 1.0)
            / (PRIOR_PULLS + self._pulls[arm])
            for arm in arms
        }
        return max(drawn, key=lambda arm: drawn[arm])

    def update(self, arm: str, reward: float) -> None:
        """Records the reward of a pull."""
        for each in self._rewards:
            self._rewards[each] *= DISCOUNT
            self._pulls[each] *= DISCOUNT
        self._rewards[arm] += reward
        self._pulls[arm] += 1
