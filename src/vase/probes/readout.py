"""Readouts: how much of the truth a code tells to a linear model and to a small MLP.

A readout is fitted on the posterior means of training images, all N of them, standardised, and
scored on held-out ones. Fitted anew at every milestone it shows what is still in the code; a
frozen one, scored long after it was fitted, shows whether the code still means the same. The frozen
one reads the latents that its environment used when it was fitted: what others put into its spare
latents later is no business of its own.
"""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from threadpoolctl import threadpool_limits

try:
    from sklearn.neural_network._base import DERIVATIVES
except ImportError:  # not public: where it has moved, fits take twice as long
    DERIVATIVES = {}

Array = NDArray[np.float32]

# Means that vary by less than a tenth of the prior's deviation carry under 0.005 nats. Blown up to
# unit variance they would be noise to fit, and a frozen readout would hang on it.
MIN_SCALE = 0.1

# Full-batch quasi-Newton steps: on 5,000 codes with spare latents in them they read identity and
# position better than Adam does, have no sampling noise, and take about a second.
_MLP = {"hidden_layer_sizes": (256,), "solver": "lbfgs", "random_state": 0}


@dataclass(frozen=True, eq=False)
class Examples:
    """Codes [B, N] with the truths to be read from them: identity [B] and position [B, 2].

    Position is two factors in [0, 1], x and y over the range of travel but for domains in three
    dimensions; None for a domain at rest.
    """

    code: Array
    identity: NDArray[np.int64]
    position: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Score:
    """Identity: accuracy in [0, 1]. Position: mean squared error over both coordinates.

    None where there is nothing to tell apart, and at rest.
    """

    identity: float | None
    position_mse: float | None


@dataclass(frozen=True, eq=False)
class Scaling:
    """A shift and a scale per column."""

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]

    @staticmethod
    def of(values: NDArray[Any], smallest: float) -> Scaling:
        """The scaling that standardises `values` [B, K], none blown up by over 1 / smallest."""
        exact = values.astype(np.float64)
        return Scaling(exact.mean(0), np.maximum(exact.std(0), smallest))

    def apply(self, values: NDArray[Any]) -> NDArray[np.float64]:
        scaled: NDArray[np.float64] = (values - self.centre) / self.scale
        return scaled

    def undo(self, values: NDArray[Any]) -> NDArray[np.float64]:
        restored: NDArray[np.float64] = values * self.scale + self.centre
        return restored


@dataclass(frozen=True, eq=False)
class Readout:
    """A fitted readout: scalings of codes and positions, and scikit-learn models between them.

    latents: the columns of the code that it reads.
    """

    latents: NDArray[np.intp]
    codes: Scaling
    classifier: Any
    positions: Scaling | None
    regressor: Any
    precision: type[np.floating[Any]]

    def score(self, examples: Examples) -> Score:
        """Score on held-out examples."""
        code = self.codes.apply(examples.code[:, self.latents]).astype(self.precision)
        accuracy = None
        if self.classifier is not None:
            accuracy = float(np.mean(self.classifier.predict(code) == examples.identity))
        if self.positions is None or examples.position is None:
            return Score(accuracy, None)
        guess = self.position(examples.code)
        return Score(accuracy, float(np.mean((guess - examples.position) ** 2)))

    def position(self, means: NDArray[Any]) -> NDArray[np.float64]:
        """The position read from codes [B, N], [B, 2]; only of a readout that was taught one."""
        assert self.positions is not None
        code = self.codes.apply(means[:, self.latents]).astype(self.precision)
        return self.positions.undo(self.regressor.predict(code))


def fit_linear(examples: Examples) -> Readout:
    """Logistic regression for identity (it converges: its loss is convex), ridge for position."""
    columns = np.arange(examples.code.shape[1])
    return _fit(examples, columns, LogisticRegression(max_iter=1000), Ridge(alpha=1.0), np.float64)


def fit_mlp(examples: Examples, latents: NDArray[np.intp] | None = None) -> Readout:
    """One hidden layer of 256 for identity, another for position; a fixed number of iterations.

    latents: the columns of the code to read; all of them by default.
    """
    columns = np.arange(examples.code.shape[1]) if latents is None else latents
    classifier = MLPClassifier(alpha=10.0, max_iter=100, **_MLP)
    regressor = MLPRegressor(alpha=3.0, max_iter=150, **_MLP)
    with FITTING:
        return _fit(examples, columns, classifier, regressor, np.float32)


def chance_score(train: Examples, test: Examples) -> Score:
    """The score of a readout that sees no code: the commonest identity, the mean position."""
    names, counts = np.unique(train.identity, return_counts=True)
    right = float(np.mean(test.identity == names[counts.argmax()]))
    accuracy = right if len(names) > 1 else None
    if train.position is None or test.position is None:
        return Score(accuracy, None)
    return Score(accuracy, float(np.mean((test.position - train.position.mean(0)) ** 2)))


def _fit(
    examples: Examples,
    latents: NDArray[np.intp],
    classifier: Any,
    regressor: Any,
    precision: type[np.floating[Any]],
) -> Readout:
    codes = Scaling.of(examples.code[:, latents], MIN_SCALE)
    code = codes.apply(examples.code[:, latents]).astype(precision)
    if len(np.unique(examples.identity)) == 1:
        classifier = None  # nothing to tell apart
    else:
        classifier.fit(code, examples.identity)
    if examples.position is None:
        return Readout(latents, codes, classifier, None, None, precision)
    positions = Scaling.of(examples.position, 1e-6)
    regressor.fit(code, positions.apply(examples.position).astype(precision))
    return Readout(latents, codes, classifier, positions, regressor, precision)


def _relu_derivative(activations: NDArray[Any], delta: NDArray[Any]) -> None:
    """What scikit-learn's own does, by a product in place of `delta[activations == 0] = 0`.

    That assignment is half of the time of a fit, and holds Python's lock, so that readouts that are
    fitted side by side wait for one another.
    """
    delta *= activations != 0


class _FittingConditions:
    """The number of iterations is part of the readout: reaching it is no reason to warn.

    One thread of BLAS: two take 2.4 times as long over matrices this small (6.3 against 2.6 s a
    fit). A derivative that is faster. All are of the whole process: they hold from the first entry
    to the last exit, and who fits in several threads enters before they begin.
    """

    def __init__(self) -> None:
        self._lock, self._fits, self._undo = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._fits:
                self._undo.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore", ConvergenceWarning)
                self._undo.enter_context(threadpool_limits(1))
                if "relu" in DERIVATIVES:
                    self._undo.callback(DERIVATIVES.__setitem__, "relu", DERIVATIVES["relu"])
                    DERIVATIVES["relu"] = _relu_derivative
            self._fits += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._fits -= 1
            if not self._fits:
                self._undo.close()


FITTING = _FittingConditions()
