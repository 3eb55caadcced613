"""Linear classifiers on frozen features: multinomial logistic regression by two ways of training it.

- `lbfgs`: standardised features, an L2 penalty whose strength is chosen on validation pictures, L-BFGS to convergence.
- `adam`: the recipe of arXiv:2405.18415, appendix B.4: raw features, Adam at 1e-3, batches of 512 in fixed order, 500
  epochs, no weight decay. The published code takes the epoch that is best on the *test* pictures; here it is the one
  that is best on validation pictures.

Both give the same kind of thing, a `LinearHead`. Why not an L-BFGS off the shelf? The curvature of this loss lies below
that of a least-squares fit to the same features (Böhning 1992, *Annals of the Institute of Statistical Mathematics*
44:197-200), which one small Cholesky factor knows. Started from that metric instead of the identity, L-BFGS needs a
handful of passes over the features for each penalty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from keepsight.diagnose.feature_cache import Array
from keepsight.types import KeepsightError

__all__ = [
    "ADAM_BATCH",
    "ADAM_EPOCHS",
    "ADAM_RATE",
    "PENALTIES",
    "SOLVERS",
    "Array",
    "LinearHead",
    "fit_adam",
    "fit_lbfgs",
]

# Of the mean loss, in standardised units, from strong to weak: each fit starts where the one before ended.
PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)
# arXiv:2405.18415, appendix B.4
ADAM_RATE = 1e-3
ADAM_BATCH = 512
ADAM_EPOCHS = 500

_MEMORY = 5  # pairs that L-BFGS remembers
_MOST_STEPS = 200
_WORSE = 2  # penalties that did worse than the best; weaker ones are not tried then
_CHOOSING, _CONVERGED = 3e-2, 1e-3  # of the gradient's norm at zero weights


@dataclass(frozen=True)
class LinearHead:
    """argmax of `features @ weights + bias`, with features taken as they come: [n, d] -> one class each."""

    classes: tuple[str, ...]
    weights: Array  # [d, c]
    bias: Array  # [c]
    about: str = ""  # how it was chosen

    def scores(self, features: Array) -> Array:
        """[n, d] -> [n, c]."""
        return np.asarray(features @ self.weights + self.bias)

    def predict(self, features: Array) -> list[str]:
        """The likeliest class of each row."""
        return [self.classes[at] for at in self.scores(features).argmax(axis=1)]

    def accuracy(self, features: Array, labels: Sequence[str]) -> float:
        """Share of rows whose class is their label."""
        return sum(a == b for a, b in zip(self.predict(features), labels, strict=True)) / max(1, len(labels))


def fit_lbfgs(
    features: Array, labels: Sequence[str], valid: Array, valid_labels: Sequence[str], *, seed: int = 0
) -> LinearHead:
    """The head at the penalty that does best on `valid` (of equal ones the strongest), trained to convergence.

    Args:
        features, valid: [n, d] and [m, d]; nothing of `valid` is learnt but the penalty.
        seed: unused; the solution is unique.
    """
    numbers, target = _numbered(labels)
    features, valid = np.asarray(features, np.float32), np.asarray(valid, np.float32)
    centre = features.mean(axis=0)
    standard = features - centre
    spread = np.sqrt(np.square(standard).mean(axis=0))
    spread[spread < 1e-6 * max(1e-30, float(np.abs(features).max()))] = np.inf  # a constant says nothing
    standard /= spread
    problem = _Problem(standard, target)
    right = np.array([numbers.get(label, -1) for label in valid_labels])
    descent = _chosen(problem, (valid - centre) / spread, right)
    weights = descent.until(_CONVERGED).weights
    scaled = (weights[:, :-1] / spread).T
    return LinearHead(
        tuple(numbers), scaled, weights[:, -1] - centre @ scaled, f"L2 penalty {descent.penalty:g}"
    )


def fit_adam(
    features: Array,
    labels: Sequence[str],
    valid: Array,
    valid_labels: Sequence[str],
    *,
    epochs: int = ADAM_EPOCHS,
    learning_rate: float = ADAM_RATE,
    batch_size: int = ADAM_BATCH,
    seed: int = 0,
) -> LinearHead:
    """The head of the epoch that does best on `valid` (of equal ones the first); without `valid` that of the last epoch.

    Args:
        seed: of the start values, drawn as torch's `nn.Linear` draws them.
    """
    import torch

    numbers, target = _numbered(labels)
    classes = tuple(numbers)
    x, y = torch.from_numpy(np.ascontiguousarray(features)), torch.from_numpy(target)
    layer = _linear(x.shape[1], len(classes), seed)
    optimizer = torch.optim.Adam(layer.parameters(), lr=learning_rate)

    def head(epoch: int) -> LinearHead:
        weights = layer.weight.detach().numpy().T.copy()
        return LinearHead(classes, weights, layer.bias.detach().numpy().copy(), f"epoch {epoch} of {epochs}")

    best, chosen = -1.0, head(0)
    for epoch in range(1, epochs + 1):
        for start in range(0, len(x), batch_size):
            batch = slice(start, start + batch_size)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(layer(x[batch]), y[batch]).backward()
            optimizer.step()
        if not len(valid):
            continue
        now = head(epoch)
        if (share := now.accuracy(valid, valid_labels)) > best:
            best, chosen = share, now
    return chosen if len(valid) else head(epochs)


SOLVERS: dict[str, Callable[..., LinearHead]] = {"lbfgs": fit_lbfgs, "adam": fit_adam}


def _numbered(labels: Sequence[str]) -> tuple[dict[str, int], Array]:
    """The number of each class, in alphabetical order, and each row's."""
    numbers = {label: at for at, label in enumerate(sorted(set(labels)))}
    if len(numbers) < 2:
        raise KeepsightError(
            f"a classifier needs pictures of two classes to learn from, these have {len(numbers)}"
        )
    return numbers, np.array([numbers[label] for label in labels])


def _linear(inputs: int, outputs: int, seed: int) -> Any:
    """A torch Linear whose start values come from a generator of their own."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    layer = torch.nn.utils.skip_init(torch.nn.Linear, inputs, outputs)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-(inputs**-0.5), inputs**-0.5, generator=generator)
    return layer


class _Point(NamedTuple):
    """Where a descent is. Of no penalty, so that the next penalty starts from it without a pass over the features."""

    weights: Array  # [c, d + 1], the bias last
    loss: float
    gradient: Array  # [c, d + 1]


class _Problem:
    """Mean cross entropy of a linear classifier."""

    def __init__(self, features: Array, target: Array) -> None:
        """features: [n, d], standardised; target: [n]."""
        n, d = features.shape
        self.classes = int(target.max()) + 1
        self._rows = np.concatenate([features, np.ones((n, 1), features.dtype)], axis=1)  # [n, d + 1]
        # Twice the memory, but up to three times as fast: few classes times this needs no copy, and gives [c, n].
        self._columns = np.ascontiguousarray(self._rows.T)  # [d + 1, n]
        self.gram = self._rows.T @ self._rows / np.float32(n)  # [d + 1, d + 1]
        shown = np.zeros((self.classes, n), features.dtype)
        shown[target, np.arange(n)] = np.float32(1 / n)
        self._shown = shown @ self._rows  # [c, d + 1]: the labels' part of the gradient at any weights
        self.start = self.at(np.zeros((self.classes, d + 1), features.dtype))
        self.steepness = float(np.linalg.norm(self.start.gradient))

    def at(self, weights: Array) -> _Point:
        """The loss there: the mean of log sum exp of a row's logits minus the logit of its label."""
        logits = weights @ self._columns  # [c, n]: sums over few classes run along it
        top = logits.max(axis=0)
        logits -= top
        likely = np.exp(logits, out=logits)
        total = likely.sum(axis=0)
        loss = float((np.log(total) + top).mean(dtype=np.float64)) - float(np.vdot(weights, self._shown))
        likely *= 1 / (np.float32(len(total)) * total)
        return _Point(weights, loss, likely @ self._rows - self._shown)


class _Descent:
    """L-BFGS at one penalty: the problem plus penalty/2 |weights|^2. Where it stopped, it can go on."""

    def __init__(self, problem: _Problem, penalty: float, start: _Point) -> None:
        self.penalty = penalty
        self._problem = problem
        self._penalties = np.full(len(problem.gram), penalty, np.float32)  # [d + 1]
        self._penalties[-1] = 0  # not the bias
        self._point, self._here = start, self._penalised(start)
        self._pairs: deque[tuple[Array, Array, np.float32]] = deque(maxlen=_MEMORY)

    def until(self, tolerance: float) -> _Point:
        """Goes on until the gradient's norm is `tolerance` of that at zero weights."""
        for _ in range(_MOST_STEPS):
            if float(np.linalg.norm(self._here.gradient)) <= tolerance * self._problem.steepness:
                break
            if not self._step():  # float32 sees no lower value in this direction
                break
        return self._point

    def _penalised(self, point: _Point) -> _Point:
        pull = self._penalties * point.weights
        return _Point(
            point.weights, point.loss + float(np.vdot(pull, point.weights)) / 2, point.gradient + pull
        )

    def _step(self) -> bool:
        """The first of the steps 1, 1/2, 1/4, ... that lowers the value enough (Armijo); whether there is one."""
        here, direction = self._here, self._direction()
        slope, length = float(np.vdot(here.gradient, direction)), 1.0
        for _ in range(20):
            point = self._problem.at(here.weights + np.float32(length) * direction)
            there = self._penalised(point)
            if there.loss <= here.loss + 1e-4 * length * slope:
                self._remember(there.weights - here.weights, there.gradient - here.gradient)
                self._point, self._here = point, there
                return True
            length /= 2
        return False

    def _remember(self, step: Array, change: Array) -> None:
        if (agreement := float(np.vdot(step, change))) > 0:
            self._pairs.append((step, change, np.float32(1 / agreement)))

    def _direction(self) -> Array:
        """Minus the inverse Hessian times the gradient: the two loops of L-BFGS (Nocedal 1980) around the metric."""
        found, alphas = self._here.gradient.copy(), []
        for step, change, rho in reversed(self._pairs):
            alphas.append(rho * np.vdot(step, found))
            found -= alphas[-1] * change
        found = found @ self._metric
        for (step, change, rho), alpha in zip(self._pairs, reversed(alphas)):
            found += (alpha - rho * np.vdot(change, found)) * step
        return -found

    @cached_property
    def _metric(self) -> Array:
        """[d + 1, d + 1]; made when first needed, because a penalty may have nothing left to do."""
        from scipy.linalg import cho_factor
        from scipy.linalg.lapack import spotri

        # p (1 - p) of equally likely classes; a ridge keeps the factor there when features repeat one another
        curvature = 1 / self._problem.classes * (1 - 1 / self._problem.classes)
        ridge = np.diag(self._penalties + np.float32(1e-5 * curvature))
        factor, _ = cho_factor(np.float32(curvature) * self._problem.gram + ridge, check_finite=False)
        upper = np.triu(spotri(factor)[0])  # below, LAPACK leaves what was there
        return upper + np.triu(upper, 1).T


def _chosen(problem: _Problem, valid: Array, right: Array) -> _Descent:
    """The penalty whose rough solution does best on `valid` [m, d] (standardised), whose classes are `right` [m]."""
    chosen, best, worse, point = _Descent(problem, PENALTIES[0], problem.start), -1.0, 0, problem.start
    for penalty in PENALTIES:
        descent = _Descent(problem, penalty, point)
        point = descent.until(_CHOOSING)
        scores = valid @ point.weights[:, :-1].T + point.weights[:, -1]  # [m, c]
        share = (scores.argmax(axis=1) == right).sum() / max(1, len(right))
        if share > best:
            chosen, best, worse = descent, share, 0
        else:
            worse += share < best
        if best == 1 or worse == _WORSE:
            break
    return chosen
