"""Both solvers find the classifier; L-BFGS finds the one that scikit-learn finds."""

import numpy as np
import pytest

from keepsight.diagnose.solvers import PENALTIES, SOLVERS, fit_adam, fit_lbfgs
from keepsight.types import KeepsightError


def drawn(n, d=20, classes=4, noise=2.0, seed=0):
    """Gaussian classes whose features have very different scales, correlate, and include a constant."""
    rng = np.random.default_rng(seed)
    centres, y = rng.normal(size=(classes, d)), rng.integers(0, classes, n)
    mix = rng.normal(size=(d, d)) * np.exp(2 * rng.normal(size=d))
    x = (centres[y] + noise * rng.normal(size=(n, d))) @ mix + 100 * rng.normal(size=d)
    return np.concatenate([x, np.full((n, 1), 7.0)], axis=1).astype(np.float32), [f"c{k}" for k in y]


def parts(n=600, **settings):
    x, y = drawn(n + 500, **settings)
    return x[:n], y[:n], x[n : n + 200], y[n : n + 200], x[n + 200 :], y[n + 200 :]


@pytest.mark.parametrize("classes, noise", [(2, 2.0), (4, 2.0), (12, 1.0)])
def test_lbfgs_agrees_with_scikit_learn(classes, noise):
    from sklearn.linear_model import LogisticRegression

    x, y, valid, valid_y, test, test_y = parts(classes=classes, noise=noise)
    head = fit_lbfgs(x, y, valid, valid_y)
    penalty = float(head.about.split()[-1])
    keep = x.std(axis=0) > 0
    centre, spread = x.mean(axis=0)[keep], x.std(axis=0)[keep]
    strength = (2 if classes == 2 else 1) / (
        penalty * len(x)
    )  # of two classes it learns one vector, w - (-w)
    plain = LogisticRegression(C=strength, tol=1e-6, max_iter=5000)
    theirs = plain.fit((x[:, keep] - centre) / spread, y).predict((test[:, keep] - centre) / spread)
    assert np.mean([a == b for a, b in zip(head.predict(test), theirs)]) > 0.985
    assert abs(head.accuracy(test, test_y) - np.mean(theirs == np.array(test_y))) < 0.02
    assert head.accuracy(test, test_y) > 1.5 / classes


def test_the_penalty_is_the_one_that_validation_prefers():
    x, y, valid, valid_y, *_ = parts(n=60, d=40, noise=6.0)
    noisy = fit_lbfgs(x, y, valid, valid_y)
    assert noisy.about == f"L2 penalty {PENALTIES[0]:g}", "noise calls for the strongest"
    assert fit_lbfgs(x, y, x, y).about != noisy.about, "its own pictures call for a weak one"


@pytest.mark.parametrize("classes, noise, d", [(2, 0.05, 100), (4, 2.0, 20), (10, 3.0, 200), (30, 0.3, 400)])
def test_lbfgs_ends_where_the_loss_is_flat(classes, noise, d):
    x, y, valid, valid_y, *_ = parts(n=300, classes=classes, noise=noise, d=d)
    head = fit_lbfgs(x, y, valid, valid_y)
    assert steepness(head, x, y) <= 1.01e-3, "of that at zero weights, summed in float64"


def steepness(head, x, y):
    """The norm of the penalised gradient at `head`, of that at zero weights, calculated apart."""
    x = x.astype(np.float64)
    spread = x.std(axis=0)
    z = np.where(spread > 0, (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1), 0)
    weights, bias = head.weights * spread[:, None], head.bias + x.mean(axis=0) @ head.weights
    shown = np.array([[label == name for name in head.classes] for label in y], float)

    def gradient(weights, bias):
        likely = np.exp(z @ weights + bias)
        off = likely / likely.sum(axis=1, keepdims=True) - shown
        pull = float(head.about.split()[-1]) * weights
        return np.concatenate([z.T @ off / len(x) + pull, off.mean(axis=0, keepdims=True)])

    return np.linalg.norm(gradient(weights, bias)) / np.linalg.norm(gradient(0 * weights, 0 * bias))


def test_without_validation_the_penalty_is_the_strongest():
    x, y, valid, *_ = parts(n=100)
    assert fit_lbfgs(x, y, valid[:0], []).about == f"L2 penalty {PENALTIES[0]:g}"


@pytest.mark.torch
def test_adam_takes_the_epoch_that_validation_prefers():
    x, y, valid, valid_y, *_ = parts()
    scale = np.float32(np.abs(x).max())
    settings = {"epochs": 8, "learning_rate": 0.1}
    heads = [fit_adam(x / scale, y, valid[:0], [], epochs=k, learning_rate=0.1) for k in range(1, 9)]
    shares = [head.accuracy(valid / scale, valid_y) for head in heads]
    best = fit_adam(x / scale, y, valid / scale, valid_y, **settings)
    assert best.about == f"epoch {1 + shares.index(max(shares))} of 8"
    assert best.accuracy(valid / scale, valid_y) == max(shares) > shares[0]
    again = fit_adam(x / scale, y, valid / scale, valid_y, **settings)
    assert np.array_equal(best.weights, again.weights), "no global random state"


@pytest.mark.torch
@pytest.mark.parametrize("solver", SOLVERS)
def test_what_a_head_gives(solver):
    x, y, valid, valid_y, test, _ = parts(n=100)
    head = SOLVERS[solver](x, y, valid, valid_y, seed=1)
    assert head.classes == ("c0", "c1", "c2", "c3") and head.weights.shape == (21, 4)
    assert head.predict(test) == [head.classes[k] for k in head.scores(test).argmax(axis=1)]
    with pytest.raises(KeepsightError, match="two classes"):
        SOLVERS[solver](x, ["c0"] * 100, valid, valid_y)


def test_a_label_that_was_never_learnt_is_wrong_and_no_error():
    x, y, valid, *_ = parts(n=100)
    assert fit_lbfgs(x, y, valid, ["new"] * len(valid)).accuracy(valid, ["new"] * len(valid)) == 0
