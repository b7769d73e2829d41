"""Linear quadratic Gaussian control: LQR on the state that a Kalman filter estimates (Kalman 1960; Anderson & Moore
1990, "Optimal Control: Linear Quadratic Methods")."""

import torch
from torch import Tensor

from embodia.planners.control.lqr import infinite_horizon
from embodia.planners.control.riccati import algebraic, product
from embodia.planners.models.linear_system import LinearSystem


class KalmanFilter:
    """Steady-state filter of x' = A x + B u + c + w with observations y = H x + v.

    The covariance of its predictions solves the same algebraic Riccati equation as LQR, with A' and H' for A and B.

    Args:
        model: The system.
        h: H (Y, S).
        w: Covariance (S, S) of the process noise w, positive semidefinite.
        v: Covariance (Y, Y) of the observation noise v, positive definite.

    Raises:
        ValueError: If V is not positive definite, shapes do not fit, or H does not see an unstable mode of A.
    """

    def __init__(self, model: LinearSystem, h: Tensor, w: Tensor, v: Tensor):
        for name, matrix, shape in (
            ("H", h, (len(h), model.state_dim)),
            ("W", w, model.a.shape),
            ("V", v, (len(h),) * 2),
        ):
            if matrix.shape != shape:
                raise ValueError(f"{name} is {tuple(matrix.shape)}, but the system and H need {tuple(shape)}")
        if bool(torch.linalg.cholesky_ex(v).info > 0):
            raise ValueError("V is not positive definite; give every observation some noise")
        self.model, self.h = model, h
        self.predicted = algebraic(model.a.mT, h.mT, w, v)
        """Covariance (S, S) of the prediction before an observation."""
        self.gain = torch.linalg.solve(h @ self.predicted @ h.mT + v, h @ self.predicted).mT
        """(S, Y)."""
        self.covariance = self.predicted - self.gain @ h @ self.predicted
        """Covariance (S, S) of the estimate after an observation."""

    def correct(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Return the estimate (*B, S) after observation y (*B, Y)."""
        return prediction + product(self.gain, y - product(self.h, prediction))

    def predict(self, estimate: Tensor, u: Tensor) -> Tensor:
        """Return the prediction (*B, S) of the next state after action u (*B, A)."""
        return self.model.dynamics(estimate, u)


class LQG:
    """Infinite-horizon LQR on the estimates of a Kalman filter, which is optimal for Gaussian noise (separation).

    Args:
        observer: The filter, which knows the system.
        q: Q (S, S) of the running cost x'Q x + u'R u.
        r: R (A, A).

    Raises:
        ValueError: If R is not positive definite, or the system cannot be stabilised.
    """

    def __init__(self, observer: KalmanFilter, q: Tensor, r: Tensor):
        self.observer, self.r = observer, r
        self.gain, self.p = infinite_horizon(observer.model.a, observer.model.b, q, r)

    def act(self, prediction: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the action (*B, A) for an observation y (*B, Y), and the prediction (*B, S) of the next state."""
        estimate = self.observer.correct(prediction, y)
        u = product(self.gain, estimate)
        return u, self.observer.predict(estimate, u)

    def average_cost(self, w: Tensor) -> float:
        """Return the expected cost per step of a system with c = 0 under process noise of covariance W (S, S).

        It is tr(P W) for the noise, plus tr(K'(R + B'PB) K S) for the covariance S of the estimates.
        """
        b = self.observer.model.b
        lost = self.gain.mT @ (self.r + b.mT @ self.p @ b) @ self.gain @ self.observer.covariance
        return float((self.p @ w).trace() + lost.trace())
