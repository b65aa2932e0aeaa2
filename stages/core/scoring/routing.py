"""A router: which parent to ask, from the prompt's text alone.

Multinomial logistic regression on hashed character n-grams, fitted on prompts whose label says which parent
answered them right (picking.py, `right_one`). The loss is strictly convex, so that its one minimum depends on
no start or order. Written here because scikit-learn's import takes 3 CPU s, as much as an evaluated subject,
and it is no dependency of ours.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_array

from stages.core.errors import LabError
from stages.core.scoring.intervals import Floats

RULE: Final = "router/1"  # version of all here that can move a choice
LENGTHS: Final = (1, 2, 3)  # characters of an n-gram
BUCKETS: Final = 4096
PENALTY: Final = 1.0  # of half the squared weights, against the summed loss; scikit-learn's default, C = 1
EDGES: Final = "\x02{}\x03"  # where a prompt begins and ends: prompt forms differ there
STEPS: Final = 500  # of L-BFGS, at most
STEEP: Final = 1e-3  # largest slope that counts as the minimum; the weights are then as near to it
CLOSE: Final = 3  # decimals at which two scores are equal: their last digits depend on the machine


@dataclass(frozen=True)
class Router:
    """weights: [BUCKETS + 1, parents], the last row for the intercept."""

    weights: Floats

    def choose(self, prompts: Sequence[str]) -> tuple[int, ...]:
        """Per prompt the place of the parent with the highest score; the first of equals."""
        scores = np.round(features(prompts) @ self.weights, CLOSE)
        return tuple(int(place) for place in np.argmax(scores, axis=1))


def features(prompts: Sequence[str]) -> csr_array:
    """Shares of hashed character n-grams, scaled to length 1, and a last column of ones.

    Shape [prompts, BUCKETS + 1], float64, sparse. The hash is CRC-32 of the n-gram's UTF-8 bytes.
    """
    rows, columns, values = [], [], []
    for row, prompt in enumerate(prompts):
        text = EDGES.format(prompt)
        grams = (text[at : at + size] for size in LENGTHS for at in range(len(text) - size + 1))
        buckets, counts = np.unique(
            [zlib.crc32(gram.encode()) % BUCKETS for gram in grams], return_counts=True
        )
        rows += [row] * (len(buckets) + 1)
        columns += [*buckets.tolist(), BUCKETS]
        values += [*(counts / np.linalg.norm(counts)).tolist(), 1.0]
    return csr_array((values, (rows, columns)), shape=(len(prompts), BUCKETS + 1))


def fit(prompts: Sequence[str], labels: Sequence[int], parents: int) -> Router:
    """The router of the least penalised loss. Pass search prompts and no other: it is fitted.

    labels: the place of the parent to be asked, 0 to parents − 1. The intercept is penalised like any weight,
    which keeps the minimum finite where one label is missing.
    Raises LabError without prompts, with a label out of range, or if the minimum is not reached.
    """
    if not prompts or len(prompts) != len(labels) or not all(0 <= label < parents for label in labels):
        raise LabError(f"a router of {parents} parents needs prompts with labels 0 to {parents - 1} each.")
    inputs = features(prompts)
    right = np.eye(parents)[np.array(labels)]
    shape = inputs.shape[1], parents

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(shape)
        scores = inputs @ weights
        scores -= scores.max(axis=1, keepdims=True)
        logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        value = -(right * logs).sum() + 0.5 * PENALTY * (weights**2).sum()
        slope = inputs.T @ (np.exp(logs) - right) + PENALTY * weights
        return float(value), slope.ravel()

    found = minimize(
        loss,
        np.zeros(shape[0] * shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": STEPS, "ftol": 1e-12, "gtol": 1e-6},
    )
    if not np.abs(found.jac).max() < STEEP:  # the solver's own verdict also counts the last digits
        raise LabError(
            f"the router was not fitted in {STEPS} steps: {found.message}. Check the search cases."
        )
    return Router(np.asarray(found.x).reshape(shape))
