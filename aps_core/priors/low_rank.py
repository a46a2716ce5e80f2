"""Closed-form posterior of a GaussianPrior with few modes under an operator that acts on rows and columns, without any
matrix of d x d: low rank plus what the operator makes diagonal, by Woodbury's identity in the modes.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_core.checks import noise
from aps_core.operators import offset
from aps_core.operators.spectrum import Spectrum, acts_on_rows_and_columns, decomposition
from aps_core.priors.linear_gaussian import linear_posterior_factors

FEW = 4  # as many entries as modes, at least, for the modes to be few


@flax.struct.dataclass
class LowRankFactors:
    """All of the posterior N(mu_G(y), F F^T) under y = A(x) + N(0, sigma^2 I) that does not depend on y, in d k numbers.

    With A = U diag(a) V^T, D = 1/s^2 + A^T A/sigma^2 is a function of A^T A: 1/s^2 + a^2/sigma^2 in the range of V, 1/s^2
    outside of it. S = L/(L + s^2), W = D^(-1/2) P (S/s^2)^(1/2), B = I - W^T W = Q diag(b) Q^T, and
    F = D^(-1/2) (I - W W^T)^(-1/2): the ``priors.gaussian.GaussianPosterior`` of masks with another D.
    """

    wq: jax.Array  # W Q (d, k)
    b: jax.Array  # (k,)
    spectrum: Spectrum  # of A
    root_d: jax.Array  # D^(1/2) along V, (r,)
    std: jax.Array  # s, which is D^(-1/2) outside of V
    gain: jax.Array  # a / sigma^2, (r,)
    prior_mean: jax.Array  # m (d,)
    predicted: jax.Array  # A(m) (n,)
    log_det: jax.Array  # log|det F|
    marginal_std: jax.Array  # (d,)

    def posterior(self, y):
        """The LowRankPosterior for flat data ``y`` (n,)."""
        # mean = m + Sigma A^T (y - A m) / sigma^2, with Sigma = D^(-1/2) (I + W B^(-1) W^T) D^(-1/2)
        v = self.spectrum.signal(self.gain / self.root_d * self.spectrum.data(y - self.predicted))
        v = v + _product(self.wq, _product(v, self.wq) / self.b)
        return LowRankPosterior(self.prior_mean + self.shrunk(v), self)

    def shrunk(self, v):
        """D^(-1/2) v, (d,)."""
        return self.spectrum.function(v, 1 / self.root_d, self.std)

    def grown(self, v):
        """D^(1/2) v, (d,)."""
        return self.spectrum.function(v, self.root_d, 1 / self.std)


@flax.struct.dataclass
class LowRankPosterior:
    """The posterior of one measurement as a bijection x = mean + F z, with the interface of
    ``priors.gaussian.GaussianPosterior``.

    Only the mean depends on the measurement. Return what is made of it from a ``vmap`` over measurements, not the
    posterior itself: that would repeat the factors.
    """

    mean: jax.Array  # (d,)
    factors: LowRankFactors

    def forward(self, z):
        """x = mean + F z and log|det F|, for z (d,)."""
        f, root = self.factors, jnp.sqrt(self.factors.b)
        v = z + _product(f.wq, _product(z, f.wq) / (root * (1 + root)))
        return self.mean + f.shrunk(v), self.log_det

    def inverse(self, x):
        """z = F^(-1) (x - mean) and log|det F^(-1)|."""
        f = self.factors
        v = f.grown(x - self.mean)
        return v - _product(f.wq, _product(v, f.wq) / (1 + jnp.sqrt(f.b))), -self.log_det

    @property
    def log_det(self):
        """log|det F|."""
        return self.factors.log_det

    @property
    def marginal_std(self):
        """Standard deviation of each entry, (d,)."""
        return self.factors.marginal_std

    def covariance(self):
        """The full covariance (d, d): only for small d."""
        factor = jax.vmap(lambda z: self.forward(z)[0] - self.mean, out_axes=1)(jnp.eye(self.mean.size))
        return _product(factor, factor.T)


def _product(a, b):
    # full precision: the default of some accelerators has 11 bits
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def posterior_factors(prior, operator, sigma_y):
    """What the posteriors under a GaussianPrior, a fixed linear operator and the noise share: LowRankFactors where the
    prior has at least FEW times as many entries as modes and the operator acts on rows and columns, else
    LinearPosteriorFactors. Both have ``posterior(y)``. Cost and errors as in what makes them.
    """
    few = FEW * prior.basis.shape[1] <= prior.dim
    low_rank = few and operator.shape == prior.shape and acts_on_rows_and_columns(operator)
    return (low_rank_factors if low_rank else linear_posterior_factors)(prior, operator, sigma_y)


def low_rank_factors(prior, operator, sigma_y):
    """The LowRankFactors of a GaussianPrior, a fixed linear operator and the noise, computed in float64.

    Costs some 4 d k^2 operations and leaves d (k + 4) numbers in the precision of the prior. Exact for any prior; with
    as many modes as entries ``linear_posterior_factors`` is no slower. B = diag(s^2/(L + s^2)) + S^(1/2) C^T diag(c) C
    S^(1/2), with C = V^T P and c = s^2 a^2/(sigma^2 + s^2 a^2), is a sum of positive parts: nothing cancels. Raises
    TypeError for an operator that is not linear or draws its mask anew, ValueError for one of another shape, or that does
    not act on rows and columns.
    """
    noise("sigma_y", sigma_y)
    if tuple(operator.shape) != tuple(prior.shape):
        raise ValueError(
            f"operator has signals of shape {tuple(operator.shape)}, the prior of shape {tuple(prior.shape)}"
        )
    if not operator.linear or operator.random:
        what = "is not linear" if not operator.linear else "is another matrix for every measurement"
        raise TypeError(f"{type(operator).__name__} {what}; expected a fixed linear operator")
    if not acts_on_rows_and_columns(operator):
        raise ValueError(
            f"{operator!r} does not act on the rows and columns of an image one after the other; expected one that does "
            "(linear_posterior_factors takes the others, posterior_base masks)"
        )
    values, left, right = decomposition(operator)
    mean, excess, s2 = (np.asarray(a, np.float64) for a in (prior.mean, prior.excess, prior.rest))
    # orthonormal to more digits than the prior has; signs do not matter
    basis = np.linalg.qr(np.asarray(prior.basis, np.float64))[0]
    shrink, along = np.sqrt(excess / (excess + s2)), 1 / s2 + values**2 / sigma_y**2
    seen = _transposed(right, basis)
    share = s2 * values**2 / (sigma_y**2 + s2 * values**2)
    gram = seen.T @ (share[:, None] * seen)
    b, q = np.linalg.eigh(np.diag(s2 / (excess + s2)) + shrink[:, None] * gram * shrink)
    b = np.maximum(b, np.finfo(float).tiny)
    scaled = np.sqrt(s2) * basis + _applied(right, (1 / np.sqrt(along) - np.sqrt(s2))[:, None] * seen)
    wq = scaled @ (shrink[:, None] * q / np.sqrt(s2))
    log_det = -0.5 * (np.sum(np.log(along)) - (prior.dim - len(along)) * np.log(s2) + np.sum(np.log(b)))
    # diag(Sigma): that of D^(-1), and of D^(-1/2) W Q diag(1/b) Q^T W^T D^(-1/2)
    shrunk = np.sqrt(s2) * wq + _applied(right, (1 / np.sqrt(along) - np.sqrt(s2))[:, None] * _transposed(right, wq))
    alone = s2 + _applied([f**2 for f in right], (1 / along - s2)[:, None])[:, 0]
    std = np.sqrt(alone + np.sum(shrunk**2 / b, axis=1))
    predicted = _applied(left, values[:, None] * _transposed(right, mean[:, None]))[:, 0]
    constant = offset(operator)
    predicted = predicted if constant is None else predicted + constant.ravel()
    dtype = prior.mean.dtype
    as_prior = lambda a: jnp.asarray(a, dtype)  # noqa: E731
    return LowRankFactors(
        as_prior(wq),
        as_prior(b),
        jax.tree.map(as_prior, Spectrum(values, left, right)),
        as_prior(np.sqrt(along)),
        as_prior(np.sqrt(s2)),
        as_prior(values / sigma_y**2),
        as_prior(mean),
        as_prior(predicted),
        as_prior(log_det),
        as_prior(std),
    )


def _transposed(factors, columns):
    """(R x C x I)^T M for M (d, k), (r, k)."""
    r, c = factors
    images = columns.reshape(len(r), len(c), -1)
    return np.einsum("ai,bj,abm->ijm", r, c, images, optimize=True).reshape(-1, columns.shape[1])


def _applied(factors, columns):
    """(R x C x I) M for M (r, k), (d, k)."""
    return _transposed([f.T for f in factors], columns)
