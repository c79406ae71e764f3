"""Extremely randomised trees, of which all grow at the same time, a level at a time.

A search fits a forest for each family every few results, on the core that also feeds the devices. scikit-learn's takes
20 ms for thirty trees of twenty results, nearly all of it outside the trees. Here a level of all trees together takes
two dozen calls of NumPy.
"""

from __future__ import annotations

import functools

import numpy as np

MOST_VALUES = 400_000  # that all nodes of a level consider, which are milliseconds: of many results, fewer features
AT_ONCE = 64_000  # values, so that they stay in the cache and in memory that the process already has
FEWEST_FEATURES = 16  # that a node draws, if there are so many


class Trees:
    """Regression trees after Geurts, Ernst and Wehenkel ("Extremely randomized trees", Machine Learning 63, 2006).

    A node draws a threshold for each feature, uniform between the smallest and the largest value in the node, and
    splits by the one that reduces the squared error most. With many features and results, it considers some of the
    features only. With targets 0 and 1, the squared error is the Gini impurity, and what is predicted a probability.

    Args:
        trees: number of trees.
        bootstrap: whether each tree sees a bootstrap sample of the rows; otherwise all rows.
        min_leaf: results in a leaf, at least.
    """

    def __init__(self, trees: int, *, bootstrap: bool, min_leaf: int):
        self._trees = trees
        self._bootstrap = bootstrap
        self._min_leaf = min_leaf
        # By node. The children of one are neighbours; a leaf is its own left child, for ever.
        self._feature = self._left = np.zeros(0, np.intp)
        self._threshold = self._value = np.zeros(0)

    def fit(self, rows: np.ndarray, targets: np.ndarray, seed: int) -> None:
        """Grows new trees.

        Args:
            rows: shape (results, features).
            targets: shape (results,).
        """
        rng = np.random.default_rng(seed)
        count, features = rows.shape
        shape = (self._trees, count)
        member = rng.integers(count, size=shape) if self._bootstrap else np.broadcast_to(np.arange(count), shape)
        level = _Level(_places(rows), targets, member.ravel(), np.full(self._trees, count, np.intp))
        drawn = min(features, max(FEWEST_FEATURES, MOST_VALUES // (self._trees * count)))
        grown: list[tuple[np.ndarray, ...]] = []
        before = 0  # nodes of the levels above
        while level.nodes:
            feature, threshold = level.splits(rng, drawn, self._min_leaf)
            is_split = np.isfinite(threshold)
            own, below = before + np.arange(level.nodes), before + level.nodes
            left = np.where(is_split, below + 2 * (np.cumsum(is_split) - 1), own)
            grown.append((feature, threshold, left, level.means))
            before, level = below, level.split(feature, threshold, is_split)
        self._feature, self._threshold, self._left, self._value = (
            np.concatenate(each) for each in zip(*grown, strict=True)
        )

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """What each tree predicts; shape (trees, rows)."""
        count, features = rows.shape
        values = np.ascontiguousarray(rows, np.float32).ravel()
        start = np.tile(np.arange(count) * features, self._trees)
        node, waiting = np.repeat(np.arange(self._trees), count), np.arange(self._trees * count)
        leaf = node.copy()
        while len(waiting):  # `node` and `start` are those of what waits
            right = values.take(start + self._feature.take(node)) > self._threshold.take(node)
            node = self._left.take(node) + right
            leaf[waiting] = node
            on = np.flatnonzero(self._left.take(node) != node)
            node, start, waiting = node.take(on), start.take(on), waiting.take(on)
        return self._value.take(leaf).reshape(self._trees, count)


class _Level:
    """The nodes of all trees at one depth, each with its results.

    Args:
        rows: the places of values (see `_places`); shape (results, features).
        targets: shape (results,).
        members: numbers of the results in the nodes, node by node.
        sizes: number of results in each node.
    """

    def __init__(self, rows: np.ndarray, targets: np.ndarray, members: np.ndarray, sizes: np.ndarray):
        self._rows = rows
        self._targets = targets
        self._members = members
        self._sizes = sizes
        self.nodes = len(sizes)

    @functools.cached_property
    def _first(self) -> np.ndarray:
        return np.cumsum(self._sizes) - self._sizes

    @functools.cached_property
    def _own(self) -> np.ndarray:
        return self._targets[self._members]

    @functools.cached_property
    def means(self) -> np.ndarray:
        """The mean of each node."""
        return np.add.reduceat(self._own, self._first) / self._sizes

    @functools.cached_property
    def _centred(self) -> np.ndarray:
        return (self._own - np.repeat(self.means, self._sizes)).astype(np.float32)

    def splits(self, rng: np.random.Generator, drawn: int, min_leaf: int) -> tuple[np.ndarray, np.ndarray]:
        """The feature by which each node is split, and the threshold; infinity for a leaf. Shapes (nodes,)."""
        feature, threshold = np.zeros(self.nodes, np.intp), np.full(self.nodes, np.inf, np.float32)
        mixed = np.minimum.reduceat(self._own, self._first) < np.maximum.reduceat(self._own, self._first)
        open_ = mixed & (self._sizes >= 2 * min_leaf)
        if not open_.any():
            return feature, threshold
        level = self._only(open_)
        feature[open_], threshold[open_] = level._best_splits(rng, drawn, min_leaf)
        return feature, threshold

    def _best_splits(self, rng: np.random.Generator, drawn: int, min_leaf: int) -> tuple[np.ndarray, np.ndarray]:
        features = self._rows.shape[1]
        shape = (drawn, self.nodes)
        if drawn == features:
            feature = np.broadcast_to(np.arange(features)[:, None], shape)
        else:
            feature = rng.integers(features, size=shape)
        chance = rng.random(shape, np.float32)
        step = max(1, AT_ONCE // len(self._members))
        parts = [self._tried(feature[n : n + step], chance[n : n + step], min_leaf) for n in range(0, drawn, step)]
        threshold, gain = (np.concatenate(each) for each in zip(*parts, strict=True))
        best, node = gain.argmax(axis=0), np.arange(self.nodes)
        return feature[best, node], np.where(gain[best, node] >= 0, threshold[best, node], np.inf)

    def _tried(self, feature: np.ndarray, chance: np.ndarray, min_leaf: int) -> tuple[np.ndarray, np.ndarray]:
        """Thresholds between the values of some features, and by how much they reduce the squared error.

        All arrays have the shape (drawn, nodes); the reduction is -1 where a part would be too small for a leaf.
        """
        # The values of all results, node by node; shape (drawn, results in nodes).
        features = self._rows.shape[1]
        values = self._rows.ravel().take(np.repeat(feature, self._sizes, axis=1) + features * self._members)
        low = _values(np.minimum.reduceat(values, self._first, axis=1))
        high = _values(np.maximum.reduceat(values, self._first, axis=1))
        threshold = low + chance * (high - low)
        threshold = np.where(threshold < high, threshold, low)  # by rounding it may be the largest
        is_left = (values <= np.repeat(_places(threshold), self._sizes, axis=1)).astype(np.float32)
        left = np.add.reduceat(is_left, self._first, axis=1)
        right = self._sizes - left
        total = np.add.reduceat(is_left * self._centred, self._first, axis=1)  # that of the right is its opposite
        possible = (left >= min_leaf) & (right >= min_leaf)
        gain = np.square(total) * (1 / np.maximum(left, 1) + 1 / np.maximum(right, 1))
        return threshold, np.where(possible, gain, -1)

    def split(self, feature: np.ndarray, threshold: np.ndarray, is_split: np.ndarray) -> _Level:
        """The next level: the left and the right part of each node that is split."""
        level = self._only(is_split)
        values = level._rows[level._members, np.repeat(feature[is_split], level._sizes)]
        is_right = values > np.repeat(_places(threshold[is_split]), level._sizes)
        part = 2 * np.repeat(np.arange(level.nodes), level._sizes) + is_right
        order = np.argsort(part, kind="stable")
        return _Level(self._rows, self._targets, level._members[order], np.bincount(part, minlength=2 * level.nodes))

    def _only(self, nodes: np.ndarray) -> _Level:
        """Some of the nodes; a boolean array says which."""
        members = self._members[np.repeat(nodes, self._sizes)]
        return _Level(self._rows, self._targets, members, self._sizes[nodes])


def _places(values: np.ndarray) -> np.ndarray:
    """Whole numbers in the order of these values, of which NumPy finds the smallest of three in half the time."""
    bits = (np.asarray(values, np.float32) + np.float32(0)).view(np.int32)  # negative zero becomes zero
    return np.ascontiguousarray(bits ^ ((bits >> 31) & 0x7FFFFFFF))  # of negative values the bits are in reverse order


def _values(places: np.ndarray) -> np.ndarray:
    """The values at these places, of type float32."""
    return (places ^ ((places >> 31) & 0x7FFFFFFF)).view(np.float32)
