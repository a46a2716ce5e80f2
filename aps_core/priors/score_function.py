"""A prior made of a score function: whatever network or formula somebody already has."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aps_core.checks import sizes
from aps_core.diffusion import LinearSDE
from aps_core.priors import bound
from aps_core.priors.base import DiffusionPrior
from aps_core.priors.gaussian import GaussianPrior, fit_gaussian


@jax.tree_util.register_pytree_node_class
class ScoreFunctionPrior(DiffusionPrior):
    """p(x) over signals x of ``shape`` in [0, 1] from grad log p_t(u_t) of the diffused variable u = 2 x - 1.

    score_fn: ``score_fn(u, t)`` for one u of ``shape`` and a time t in [sde.t_min, 1], written in ``jax.numpy``; it
    returns the score, of ``shape``. A network that predicts the noise eps instead has the score -eps / sde.beta(t).
    sde: the diffusion that it belongs to (``aps_core.diffusion``: VPSDE, SubVPSDE or VESDE), u_t = sde.alpha(t) u +
    sde.beta(t) eps. gaussian: a GaussianPrior of the same shape, which flows and closed forms start from, or an array of
    signals (n, *shape), to which one is fitted; without it the iterative samplers work all the same, and what needs one
    raises ValueError. ``with_fitted_gaussian`` fits it to draws of the prior itself. params: None, or a pytree of
    arrays: then ``score_fn(params, u, t)`` is called, and large networks are not copied into every compiled program.

    Raises TypeError or ValueError where one of them is something else, or the score has another shape.
    """

    arrays_tell_all = False  # there is somebody's function, too

    def __init__(self, score_fn, shape, sde, gaussian=None, params=None):
        if not callable(score_fn):
            raise TypeError(f"score_fn must be a function score_fn(u, t), got {score_fn!r:.80}")
        if not isinstance(sde, LinearSDE):
            raise TypeError(f"sde must be a diffusion such as aps_core.diffusion.VPSDE(), got {sde!r:.80}")
        self._fixed = score_fn, sizes("shape", shape), sde
        self._arrays = _fitted(gaussian, self.shape, sde), params
        u, t = jax.ShapeDtypeStruct(self.shape, jnp.float32), jax.ShapeDtypeStruct((), jnp.float32)
        try:
            out = jax.eval_shape(self._score_of, u, t)
        except Exception as error:  # whatever somebody's program raises
            raise TypeError(
                f"score_fn failed on one u of shape {self.shape} and a time t: {type(error).__name__}: {error}; expected "
                "score_fn(u, t) in jax.numpy"
            ) from error
        if getattr(out, "shape", None) != self.shape:
            raise ValueError(f"score_fn gives {out}, expected the score of one u, of shape {self.shape}")

    def tree_flatten(self):
        """Arrays, and what is fixed."""
        return self._arrays, self._fixed

    @classmethod
    def tree_unflatten(cls, fixed, arrays):
        """The prior of its parts, without the checks, which want numbers."""
        prior = object.__new__(cls)
        prior._fixed, prior._arrays = fixed, arrays
        return prior

    @property
    def score_fn(self):
        """The function that it was made of."""
        return self._fixed[0]

    @property
    def shape(self):
        """Shape of a signal."""
        return self._fixed[1]

    @property
    def sde(self):
        """The diffusion."""
        return self._fixed[2]

    @property
    def params(self):
        """Parameters of ``score_fn``, or None."""
        return self._arrays[1]

    @property
    def gaussian(self):
        """The GaussianPrior. Raises ValueError where none was given."""
        if self._arrays[0] is None:
            raise ValueError(
                "gaussian of this ScoreFunctionPrior is None, and flows and closed forms start from it; expected "
                "ScoreFunctionPrior(..., gaussian=signals), or prior.with_fitted_gaussian(key)"
            )
        return self._arrays[0]

    @property
    def dim(self):
        """d, the number of entries of a signal."""
        return int(np.prod(self.shape))

    def _score_of(self, u, t) -> Any:
        return self.score_fn(u, t) if self.params is None else self.score_fn(self.params, u, t)

    def score(self, ut, t):
        """grad log p_t at ``ut`` (d,), in the scale u = 2 x - 1."""
        return self._score_of(ut.reshape(self.shape), t).reshape(-1).astype(ut.dtype)

    def eps(self, ut, t):
        """Noise prediction -beta(t) score for ``ut`` (d,)."""
        return -self.sde.beta(t) * self.score(ut, t)

    def elbo(self, key, x, n_times=1):
        """Estimate of the bound on log p(x) in nats (density of x), from ``n_times`` low-discrepancy times."""
        return bound.mean_bound(self, key, x, n_times)

    def with_fitted_gaussian(self, key, n=1024, **settings):
        """This prior with a Gaussian fitted to ``n`` draws of its own probability-flow ODE; settings: see
        ``ode.draw_ode``.
        """
        draws = np.asarray(jax.jit(lambda k: self.sample(k, n, **settings))(key))
        return type(self)(*self._fixed, gaussian=draws, params=self.params)


def _fitted(given, shape, sde):
    """A GaussianPrior of ``shape`` and ``sde``: the one ``given``, one fitted to the signals ``given``, or None."""
    if given is None:
        return None
    if isinstance(given, GaussianPrior):
        if tuple(given.shape) != shape:
            raise ValueError(f"gaussian has signals of shape {tuple(given.shape)}, expected {shape}")
        return given.replace(sde=sde)
    if np.ndim(given) != len(shape) + 1 or np.shape(given)[1:] != shape or len(given) < 2:
        raise ValueError(
            f"gaussian must be a GaussianPrior or at least 2 signals (n, {', '.join(map(str, shape))}), got "
            f"{type(given).__name__} of shape {np.shape(given)}"
        )
    flat = np.asarray(given, np.float64).reshape(len(given), -1)
    least = max(1e-6, 1e-3 * float(flat.var(axis=0).mean()))  # directions that too few signals do not span
    return fit_gaussian(given, n_modes=min(flat.shape[1], len(given) - 1), diagonal=least, sde=sde)
