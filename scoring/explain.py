"""Why a row is strange: each feature's signed part of the anomaly score.

Shapley values of the forest's mean path length in the sense of TreeSHAP, path-dependent (Lundberg et al. 2020, "From
local explanations to global understanding with explainable AI for trees"): a feature that is left out sends a row down
both branches in the proportion of the training rows that went there. They are exact, not sampled.

How: a leaf is a box. For each feature ``j`` on its path there is an interval, the share ``z_j`` of training rows that
its splits let through, and for a given row ``o_j`` = 1 when the row's value lies in the interval, else 0. The leaf adds
``path * prod(o_j for j known) * prod(z_j for j unknown)`` to the game. The Shapley value is the integral of the
derivative of the game's multilinear extension on the diagonal (Owen 1972, "Multilinear extensions of games"):

    phi_i = path * (o_i - z_i) * integral over t in 0..1 of prod over j != i of (t o_j + (1 - t) z_j)

The integrand is a polynomial of a degree one below the number of features on the path, so Gauss-Legendre
quadrature with half as many points is exact.

From path length to score: the score is ``2 ** (-path / c)``, which falls as the path grows. The Shapley values are
multiplied by (score - base score) / (path - base path), the slope of the line between the two points. It is negative,
so what shortens the path is positive and makes stranger; and the contributions add up to score - base score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.compiled import compiled
from scoring.forest import Floats, Forest, Prepared, Trees, score_of_path

LANES = 256
"""Most rows that are explained together."""

CLOSE = 1e-9
"""A path this near the base path is explained by the slope of the score itself."""


class Boxes(NamedTuple):
    """All leaves of a forest as boxes; a leaf's sides are ``start[leaf]`` to ``start[leaf + 1]``."""

    start: NDArray[np.int64]  # (leaves + 1,)
    path: Floats  # (leaves,)
    column: NDArray[np.int64]  # (sides,) prepared column
    low: Prepared  # (sides,) the value is above it
    high: Prepared  # (sides,) and not above this
    share: Floats  # (sides,) training rows the side lets through, 0 to 1


@dataclass(frozen=True)
class Explainer:
    """What explains the scores of one forest. ``base_path`` is the mean path length of its training rows."""

    forest: Forest
    boxes: Boxes
    points: Floats
    weights: Floats
    base_path: float

    @property
    def base_score(self) -> float:
        """The score of the base path: what a row has before anything is known about it."""
        return float(score_of_path(np.array([self.base_path]), self.forest.scale)[0])

    def contributions(self, values: Floats) -> Floats:
        """Parts of the anomaly score, shape (rows, width), of raw values of that shape.

        Positive makes stranger; a row's sum is its score less :attr:`base_score`. Where a feature is missing its
        part is that of the typical value.
        """
        shapley = self.path_contributions(values)
        path = self.base_path + shapley.sum(axis=1)
        score = score_of_path(path, self.forest.scale)
        away = path - self.base_path
        near = np.abs(away) < CLOSE
        slope = np.where(near, -np.log(2.0) / max(self.forest.scale, CLOSE) * score, 0.0)
        np.divide(score - self.base_score, away, out=slope, where=~near)
        return np.asarray(shapley * slope[:, np.newaxis])

    def path_contributions(self, values: Floats) -> Floats:
        """Shapley values of the mean path length, shape (rows, width)."""
        prepared = self.forest.prepared(values)
        rows, columns = prepared.shape
        lanes = max(1, min(LANES, rows))
        blocks = np.zeros((-(-rows // lanes) * lanes, columns), np.float32)
        blocks[:rows] = prepared
        blocks = np.ascontiguousarray(blocks.reshape(-1, lanes, columns).transpose(0, 2, 1))
        shapley = np.zeros(blocks.shape)
        _shapley(blocks, self.boxes, self.points, self.weights, shapley)
        out = np.zeros((rows, self.forest.width))
        out[:, self.forest.preparation.source] = shapley.transpose(0, 2, 1).reshape(-1, columns)[:rows]
        return out / len(self.forest.trees.roots)


def explainer(forest: Forest) -> Explainer:
    """Prepare a forest for explanations: some milliseconds, once."""
    boxes = boxes_of(forest.trees)
    most_sides = int(np.diff(boxes.start).max(initial=1))
    points, weights = quadrature(most_sides)
    return Explainer(forest, boxes, points, weights, _base_path(forest.trees))


def _base_path(trees: Trees) -> float:
    """Mean path length of the training rows over the trees."""
    leaf = np.flatnonzero(trees.child == np.arange(len(trees.child)))
    root = trees.roots[np.searchsorted(trees.roots, leaf, side="right") - 1]
    return float((trees.path[leaf] * trees.rows[leaf] / trees.rows[root]).sum() / len(trees.roots))


def quadrature(most_sides: int) -> tuple[Floats, Floats]:
    """Points and weights on 0..1, shape (n + 1, n): row ``n`` holds the rule with ``n`` points and then zeros."""
    most = max(1, (most_sides + 1) // 2)
    points, weights = np.zeros((most + 1, most)), np.zeros((most + 1, most))
    for n in range(1, most + 1):
        at, weight = np.polynomial.legendre.leggauss(n)
        points[n, :n], weights[n, :n] = (at + 1) / 2, weight / 2
    return points, weights


def boxes_of(trees: Trees) -> Boxes:
    """The leaves of all trees as boxes, in the order of a walk through each tree."""
    leaves = int((trees.child == np.arange(len(trees.child))).sum())
    most = leaves * int(trees.depth.max(initial=0))
    boxes = Boxes(
        start=np.zeros(leaves + 1, np.int64),
        path=np.zeros(leaves),
        column=np.zeros(most, np.int64),
        low=np.zeros(most, np.float32),
        high=np.zeros(most, np.float32),
        share=np.zeros(most),
    )
    _collect(trees, boxes, int(trees.depth.max(initial=0)))
    sides = boxes.start[-1]
    return boxes._replace(
        column=boxes.column[:sides].copy(),
        low=boxes.low[:sides].copy(),
        high=boxes.high[:sides].copy(),
        share=boxes.share[:sides].copy(),
    )


@compiled
def _collect(trees: Trees, boxes: Boxes, deepest: int) -> None:
    """Walk every tree; at each leaf write the sides of its path, one for each feature on it."""
    stack = np.empty(deepest + 2, np.int64)  # nodes still to visit
    level = np.empty(deepest + 2, np.int64)  # ... and how many sides the path to each has
    column = np.empty((deepest + 2, deepest + 1), np.int64)
    low = np.empty((deepest + 2, deepest + 1), np.float32)
    high = np.empty((deepest + 2, deepest + 1), np.float32)
    share = np.empty((deepest + 2, deepest + 1))
    leaf = 0
    for root in trees.roots:
        stack[0], level[0], height = root, 0, 1
        while height:
            height -= 1
            node, sides = stack[height], level[height]
            child = np.int64(trees.child[node])
            if child == node:
                first = boxes.start[leaf]
                boxes.path[leaf] = trees.path[node]
                for side in range(sides):
                    boxes.column[first + side] = column[height, side]
                    boxes.low[first + side] = low[height, side]
                    boxes.high[first + side] = high[height, side]
                    boxes.share[first + side] = share[height, side]
                leaf += 1
                boxes.start[leaf] = first + sides
                continue
            # The right child takes this place of the stack, the left one the next; both begin with the path so far.
            for side in range(sides):
                column[height + 1, side] = column[height, side]
                low[height + 1, side] = low[height, side]
                high[height + 1, side] = high[height, side]
                share[height + 1, side] = share[height, side]
            split = np.int64(trees.column[node])
            at = 0
            while at < sides and column[height, at] != split:
                at += 1
            after = max(sides, at + 1)
            for place in range(height, height + 2):
                if at == sides:
                    column[place, at], share[place, at] = split, 1.0
                    low[place, at], high[place, at] = np.float32(-np.inf), np.float32(np.inf)
                level[place] = after
            stack[height], stack[height + 1] = child + 1, child
            low[height, at] = max(low[height, at], trees.threshold[node])
            high[height + 1, at] = min(high[height + 1, at], trees.threshold[node])
            share[height, at] *= trees.rows[child + 1] / trees.rows[node]
            share[height + 1, at] *= trees.rows[child] / trees.rows[node]
            height += 2


@compiled
def _shapley(blocks: Prepared, boxes: Boxes, points: Floats, weights: Floats, out: Floats) -> None:
    """Add the Shapley values of the summed path lengths to ``out``, shape (blocks, columns, lanes), of such rows.

    No slices in here: a view of an array costs more than the few numbers it would be used for.
    """
    lanes = blocks.shape[2]
    inside = np.empty((2 * points.shape[1], lanes))
    product = np.empty((points.shape[1], lanes))
    total = np.empty(lanes)
    for block in range(blocks.shape[0]):
        for leaf in range(boxes.path.shape[0]):
            _products(blocks, block, boxes, leaf, points, inside, product)
            _add_leaf(out, block, boxes, leaf, points, weights, inside, product, total)


@compiled
def _products(
    blocks: Prepared, block: int, boxes: Boxes, leaf: int, points: Floats, inside: Floats, product: Floats
) -> None:
    """Whether each lane is inside each side of a leaf, and the product over its sides at each quadrature point."""
    lanes = blocks.shape[2]
    begin = boxes.start[leaf]
    sides = boxes.start[leaf + 1] - begin
    n = (sides + 1) // 2
    for k in range(n):
        for lane in range(lanes):
            product[k, lane] = 1.0
    for side in range(sides):
        column, share = boxes.column[begin + side], boxes.share[begin + side]
        low, high = boxes.low[begin + side], boxes.high[begin + side]
        for lane in range(lanes):
            x = blocks[block, column, lane]
            inside[side, lane] = np.float64((x > low) & (x <= high))
        for k in range(n):
            left_out = (1.0 - points[n, k]) * share
            for lane in range(lanes):
                product[k, lane] *= left_out + inside[side, lane] * points[n, k]


@compiled
def _add_leaf(
    out: Floats,
    block: int,
    boxes: Boxes,
    leaf: int,
    points: Floats,
    weights: Floats,
    inside: Floats,
    product: Floats,
    total: Floats,
) -> None:
    """Add a leaf's part for each of its sides: the product over the other sides, integrated."""
    lanes = total.shape[0]
    begin = boxes.start[leaf]
    sides = boxes.start[leaf + 1] - begin
    n = (sides + 1) // 2
    for side in range(sides):
        column, share = boxes.column[begin + side], boxes.share[begin + side]
        for lane in range(lanes):
            total[lane] = 0.0
        for k in range(n):
            left_out = (1.0 - points[n, k]) * share
            outside = weights[n, k] / left_out
            more = weights[n, k] / (left_out + points[n, k]) - outside
            for lane in range(lanes):
                total[lane] += product[k, lane] * (outside + inside[side, lane] * more)
        for lane in range(lanes):
            out[block, column, lane] += boxes.path[leaf] * (inside[side, lane] - share) * total[lane]
