"""The compiled scorer: a fitted pipeline as flat arrays, several times faster than scikit-learn, with its scores.

Two things make it fast. The children of a node lie side by side, so a step is one addition
(``child[node] + (x > threshold)``) without a branch; a leaf is its own child behind a threshold of infinity, so every
row of a block takes the same number of steps. And a block of rows goes through one tree before the next,
so the tree stays in the first cache.

Exactness: scikit-learn casts the prepared values to float32 and compares them with a double threshold. ``x <= t`` for a
float32 ``x`` is ``x <= t'`` where ``t'`` is the greatest float32 that is not above ``t``; so all is kept in float32.
A leaf's value is the length of the path to it plus the average path length of an unsuccessful search among the
training rows in it, ``c(n) = 2 H(n - 1) - 2 (n - 1) / n`` (Liu, Ting, Zhou 2008, equation 1), and the score is
``2 ** (-mean path length / c(subsample))`` (equation 2).

Only numpy and numba are imported here: this is what a Spark worker loads. :mod:`scoring.flatten` makes the arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.compiled import compiled

BLOCK = 256
"""Rows that go through a tree together."""

Floats = NDArray[np.float64]
Prepared = NDArray[np.float32]


class Preparation(NamedTuple):
    """How prepared column ``j`` comes from the input: arrays of shape (columns,).

    It is input column ``source[j]``; missing becomes ``typical[j]``, then it is bounded by ``least[j]`` and
    ``most[j]``, and where ``compress[j]`` it is ``log1p`` of that.
    """

    source: NDArray[np.int64]
    typical: Floats
    least: Floats
    most: Floats
    compress: NDArray[np.bool_]


class Trees(NamedTuple):
    """The nodes of all trees one after the other, arrays of shape (nodes,); ``roots`` and ``depth`` are (trees,)."""

    column: NDArray[np.uint32]  # prepared column a node compares; 0 in a leaf
    threshold: Prepared  # a greater value goes right; infinity in a leaf
    child: NDArray[np.uint32]  # the left child, the right one follows it; itself in a leaf
    path: Floats  # expected path length of a leaf
    rows: Floats  # training rows that passed
    roots: NDArray[np.uint32]
    depth: NDArray[np.int64]  # most steps from root to leaf


@dataclass(frozen=True)
class Forest:
    """A fitted pipeline as arrays."""

    width: int  # columns of the input
    preparation: Preparation
    trees: Trees
    scale: float  # average path length in a tree of the subsample's size, c(subsample)

    def score(self, values: Floats) -> Floats:
        """Anomaly scores, shape (rows,), of raw feature values, shape (rows, width); NaN is missing."""
        return score_of_path(self.path_lengths(values), self.scale)

    def path_lengths(self, values: Floats) -> Floats:
        """Mean expected path length over the trees, shape (rows,)."""
        values = self._checked(values)
        total = np.zeros(len(values))
        _walk(values, self.preparation, self._walked, total)
        return total / len(self.trees.roots)

    def prepared(self, values: Floats) -> Prepared:
        """What the trees compare, shape (rows, columns)."""
        values = self._checked(values)
        block = np.empty((len(self.preparation.source), len(values)), np.float32)
        _prepare(values, self.preparation, 0, len(values), block)
        return np.ascontiguousarray(block.T)

    def usual(self, values: Floats) -> NDArray[np.bool_]:
        """Whether the model takes a value as it takes the typical one, shape (rows, width).

        That is so for missing values and for those on the side of the typical one that is not strange.
        """
        known = self.preparation
        filled = np.where(np.isnan(values[:, known.source]), known.typical, values[:, known.source])
        same = np.ones(values.shape, np.bool_)
        bounded, middle = (np.clip(each, known.least, known.most) for each in (filled, known.typical))
        same[:, known.source] = bounded == middle
        return same

    @cached_property
    def _walked(self) -> Trees:
        """The trees with the place of a column's first cell in a block instead of the column: a step less each time."""
        return self.trees._replace(column=self.trees.column * np.uint32(BLOCK))

    def _checked(self, values: Floats) -> Floats:
        """The matrix in the layout the kernel reads; a wrong shape would read foreign memory."""
        values = np.ascontiguousarray(values, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != self.width:
            raise ValueError(f"the values have the shape {values.shape}, the forest needs (rows, {self.width})")
        return values


def score_of_path(path: Floats, scale: float) -> Floats:
    """Equation 2 of the paper; 1/2 where a tree holds a single row and no path has a length."""
    return np.asarray(np.exp2(-path / scale if scale > 0 else np.full_like(path, -1.0)), np.float64)


@compiled
def _prepare(values: Floats, preparation: Preparation, start: int, stop: int, block: Prepared) -> None:
    """Rows start to stop into the columns of ``block``, shape (columns, at least stop - start)."""
    for j in range(preparation.source.shape[0]):
        for row in range(start, stop):
            value = values[row, preparation.source[j]]
            if np.isnan(value):
                value = preparation.typical[j]
            value = min(max(value, preparation.least[j]), preparation.most[j])
            block[j, row - start] = np.float32(np.log1p(value) if preparation.compress[j] else value)


@compiled
def _walk(values: Floats, preparation: Preparation, trees: Trees, total: Floats) -> None:
    """Add every row's path lengths over all trees to ``total``.

    ``trees.column`` is the place of the column's first cell in a block. Indices are unsigned: a signed one costs a test
    for counting from the end at every access.
    """
    column, threshold, child, path = trees.column, trees.threshold, trees.child, trees.path
    block = np.empty((preparation.source.shape[0], BLOCK), np.float32)
    cells = block.ravel()
    place = np.empty(BLOCK, np.uint32)
    for start in range(0, values.shape[0], BLOCK):
        stop = min(start + BLOCK, values.shape[0])
        _prepare(values, preparation, start, stop, block)
        for tree in range(trees.roots.shape[0]):
            for row in range(stop - start):
                place[row] = trees.roots[tree]
            for _ in range(trees.depth[tree]):
                for row in range(stop - start):
                    node = place[row]
                    cell = np.uint32(column[node] + np.uint32(row))
                    place[row] = np.uint32(child[node] + np.uint32(cells[cell] > threshold[node]))
            for row in range(stop - start):
                total[start + row] += path[place[row]]
