"""Whether a model knows when it is right: answer where certainty is high, and see what is still wrong."""

from collections.abc import Sequence

import numpy as np

from stages.core.scoring.intervals import Clusters, Floats


def risk_coverage(certainty: Sequence[float], correct: Sequence[bool]) -> list[tuple[float, float]]:
    """(coverage, risk) for every threshold on certainty, by rising coverage; both 0 to 1.

    coverage: share of items answered, the most certain first; risk: share of those that are wrong. Items of
    equal certainty are answered together, so there is one point per distinct certainty.
    Source: El-Yaniv and Wiener 2010, JMLR 11; Geifman and El-Yaniv 2017 (1705.08500).
    """
    order, ends = _order(certainty)
    wrong = 1.0 - np.asarray(correct, dtype=np.float64)[order]
    count = np.arange(1, len(order) + 1)[ends]
    risk = np.cumsum(wrong)[ends] / count
    return [(float(c / len(order)), float(r)) for c, r in zip(count, risk, strict=True)]


def aurc(certainty: Sequence[float], correct: Sequence[bool]) -> float:
    """Area under the risk-coverage curve: mean risk over coverages 1/n, 2/n … 1; lower is better, 0 to 1.

    Within items of equal certainty the wrong ones are spread evenly: the expectation over their orders, so
    that a constant certainty gives the error rate. Source: Geifman et al. 2019 (1805.08206).
    """
    return float(_areas(certainty, correct, np.ones((1, len(correct))))[0])


def aurc_samples(certainty: Sequence[float], correct: Sequence[bool], clusters: Clusters) -> Floats:
    """`aurc` on every resample: pass it to `percentile_interval`, or subtract another's. Shape [draws]."""
    return _areas(certainty, correct, clusters.counts[:, clusters.item_cluster])


def _order(certainty: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Items by falling certainty (stable), and the places where a run of equal certainties ends."""
    values = np.asarray(certainty, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(values[order]) != 0, True))
    return order, ends


def _areas(certainty: Sequence[float], correct: Sequence[bool], weights: Floats) -> Floats:
    """Mean risk over coverage with each item counted `weights` times. weights: [draws, items]. Shape [draws].

    A run of w tied items with error rate r after n items with e wrong ones has risk (e + r·t) / (n + t) at
    its t-th item; the sum over t is taken as w times its value at the run's mid point (n + (w + 1)/2), exact
    where runs are single items.
    """
    order, ends = _order(certainty)
    starts = np.append(0, ends[:-1] + 1)
    wrong = 1.0 - np.asarray(correct, dtype=np.float64)[order]
    sizes = np.add.reduceat(weights[:, order], starts, axis=1)
    errors = np.add.reduceat(weights[:, order] * wrong, starts, axis=1)
    before, wrong_before = np.cumsum(sizes, axis=1) - sizes, np.cumsum(errors, axis=1) - errors
    middle = (sizes + 1) / 2
    rate = np.divide(errors, sizes, out=np.zeros_like(errors), where=sizes > 0)
    risk = (wrong_before + rate * middle) / (before + middle)
    return np.asarray((risk * sizes).sum(axis=1) / sizes.sum(axis=1))
