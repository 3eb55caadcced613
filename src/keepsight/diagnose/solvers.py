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
from typing import Any

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
    classes, target = _classes(labels)
    features, valid = np.asarray(features, np.float32), np.asarray(valid, np.float32)
    centre, spread = features.mean(axis=0), features.std(axis=0)
    spread[spread < 1e-6 * max(1e-30, float(np.abs(features).max()))] = np.inf  # a constant says nothing
    problem = _Problem((features - centre) / spread, target)
    standard = (valid - centre) / spread
    right = np.array([classes.index(label) if label in classes else -1 for label in valid_labels])
    best, weights, start, worse = (-1.0, PENALTIES[0]), problem.nothing, problem.nothing, 0
    for penalty in PENALTIES:
        start = problem.solve(penalty, start, _CHOOSING)
        share = float(((standard @ start[:, :-1].T + start[:, -1]).argmax(axis=1) == right).mean())
        if share > best[0]:
            best, weights, worse = (share, penalty), start, 0
        else:
            worse += share < best[0]
        if best[0] == 1 or worse == _WORSE:
            break
    weights = problem.solve(best[1], weights, _CONVERGED)
    scaled = (weights[:, :-1] / spread).T
    return LinearHead(classes, scaled, weights[:, -1] - centre @ scaled, f"L2 penalty {best[1]:g}")


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

    classes, target = _classes(labels)
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


def _classes(labels: Sequence[str]) -> tuple[tuple[str, ...], Array]:
    """The classes in alphabetical order, and each row's number."""
    classes = tuple(sorted(set(labels)))
    if len(classes) < 2:
        raise KeepsightError(
            f"a classifier needs pictures of two classes to learn from, these have {len(classes)}"
        )
    number = {label: at for at, label in enumerate(classes)}
    return classes, np.array([number[label] for label in labels])


def _linear(inputs: int, outputs: int, seed: int) -> Any:
    """A torch Linear whose start values come from a generator of their own."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    layer = torch.nn.utils.skip_init(torch.nn.Linear, inputs, outputs)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-(inputs**-0.5), inputs**-0.5, generator=generator)
    return layer


class _Problem:
    """Mean cross entropy of a linear classifier plus penalty/2 |weights|^2; weights are [c, d + 1], the bias last."""

    def __init__(self, features: Array, target: Array) -> None:
        """features: [n, d], standardised."""
        n, d = features.shape
        self._x = np.concatenate([features, np.ones((n, 1), features.dtype)], axis=1)  # [n, d + 1]
        self._right = target, np.arange(n)
        self._classes = int(target.max()) + 1
        self.nothing = np.zeros((self._classes, d + 1), features.dtype)
        self._gram = self._x.T @ self._x / np.float32(n)  # [d + 1, d + 1]
        self._penalised = np.append(np.ones(d, features.dtype), np.float32(0))  # not the bias
        self._size = float(np.linalg.norm(self._loss(self.nothing, 0.0)[1]))

    def _loss(self, weights: Array, penalty: float) -> tuple[float, Array]:
        """Value and gradient [c, d + 1]."""
        logits = np.ascontiguousarray((self._x @ weights.T).T)  # [c, n]: sums over few classes run along it
        logits -= logits.max(axis=0)
        right = logits[self._right]
        np.exp(logits, out=logits)
        total = logits.sum(axis=0)
        kept = self._penalised * weights
        value = float((np.log(total) - right).mean(dtype=np.float64)) + penalty / 2 * float(
            np.vdot(kept, kept)
        )
        logits /= total
        logits[self._right] -= 1
        return value, logits @ self._x / np.float32(len(self._x)) + np.float32(penalty) * kept

    def solve(self, penalty: float, start: Array, tolerance: float) -> Array:
        """L-BFGS from `start` until the gradient's norm is `tolerance` of that at zero weights."""
        from scipy.linalg import cho_factor, cho_solve

        # p (1 - p) of equally likely classes; a ridge keeps the factor there when features repeat one another
        curvature = 1 / self._classes * (1 - 1 / self._classes)
        ridge = np.diag(penalty * self._penalised + 1e-5 * curvature).astype(start.dtype)
        factor = cho_factor(np.float32(curvature) * self._gram + ridge, check_finite=False)
        metric = cho_solve(factor, np.eye(len(ridge), dtype=start.dtype), check_finite=False)
        weights = start
        value, gradient = self._loss(weights, penalty)
        pairs: deque[tuple[Array, Array, float]] = deque(maxlen=_MEMORY)
        for _ in range(_MOST_STEPS):
            if float(np.linalg.norm(gradient)) <= tolerance * self._size:
                break
            direction = _direction(gradient, pairs, metric)
            moved = self._search(weights, value, gradient, direction, penalty)
            if moved is None:  # float32 sees no lower value in this direction
                break
            new, new_value, new_gradient = moved
            step, change = new - weights, new_gradient - gradient
            if (agreement := float(np.vdot(step, change))) > 0:
                pairs.append((step, change, 1 / agreement))
            weights, value, gradient = new, new_value, new_gradient
        return weights

    def _search(
        self, weights: Array, value: float, gradient: Array, direction: Array, penalty: float
    ) -> tuple[Array, float, Array] | None:
        """The first of the steps 1, 1/2, 1/4, ... that lowers the value enough (Armijo)."""
        slope, length = float(np.vdot(gradient, direction)), 1.0
        for _ in range(20):
            new = weights + np.float32(length) * direction
            new_value, new_gradient = self._loss(new, penalty)
            if new_value <= value + 1e-4 * length * slope:
                return new, new_value, new_gradient
            length /= 2
        return None


def _direction(gradient: Array, pairs: Sequence[tuple[Array, Array, float]], metric: Array) -> Array:
    """Minus the inverse Hessian times the gradient: the two loops of L-BFGS (Nocedal 1980) around `metric`."""
    found, alphas = gradient.copy(), []
    for step, change, rho in reversed(pairs):
        alpha = np.float32(rho * float(np.vdot(step, found)))
        alphas.append(alpha)
        found = found - alpha * change
    found = found @ metric
    for (step, change, rho), alpha in zip(pairs, reversed(alphas)):
        found = found + (alpha - np.float32(rho * float(np.vdot(change, found)))) * step
    return -found
