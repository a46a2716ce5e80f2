"""The contract of priors: what a task, a flow, a sampler and the objective may ask of one."""

from collections.abc import Callable
from typing import Any

PRIOR_WANTED = (
    "a Prior (see aps_core.priors.base): an object with shape, gaussian (a GaussianPrior), sde and eps(ut, t); "
    "aps_core.ScoreFunctionPrior(score_fn, shape, sde) makes one of a score function"
)


class Prior:
    """p(x) over signals of one shape, in the scale [0, 1]; diffusion priors see u = 2 x - 1.

    Every prior has ``shape``, ``dim`` and ``gaussian``, a GaussianPrior of the same shape, which flows and closed forms
    start from (its own for a Gaussian one). What else it can do stands in class attributes, so that nobody has to ask
    for its class:

    - is_gaussian: it is its own ``gaussian``, and its density exact.
    - has_score: ``eps(ut, t)``, ``score(ut, t)`` and ``sde``, for ut (d,) at time t; what samplers need.
    - has_log_ratio: ``log_ratio_at(key, x, t)`` and ``t_residual``, the estimated difference of its bound to the
      Gaussian's log density: the control variate of the objective.
    - has_modal_log_ratio: ``modal_log_ratio(key, v, t)``, the same from the amplitudes v of its leading modes alone.
    - has_divergence: ``eps_and_divergence(ut, t)``, the trace of the noise prediction's Jacobian in closed form.
    - has_log_prob_at: ``log_prob_at(ut, t)``, its exact density at every time.
    - can_be_sampled: ``sample(key, n)`` gives n draws (n, *shape), ``fast_draws`` does so by the cheapest way; with
      has_fast_sampler ``fast_sampling.draw`` takes it.
    - leading_modes: in how many modes of its Gaussian alone it differs from that; None where it may in all.
    - has_coordinates: ``coordinates(x)``, ``signal(v)``, ``basis`` and ``inner``, the prior of the coordinates.
    - arrays_tell_all: two of one class with the same arrays and settings are the same.

    A prior that is kept in a file also has ``kind`` (its word in ``priors.KINDS``), ``settings()``, what its card says
    (ready for JSON), ``tree()``, its arrays as a nested dict, and the class method ``from_tree(tree, settings)``.
    """

    shape: Any
    dim: Any
    gaussian: Any
    eps: Callable[..., Any]
    sample: Callable[..., Any]
    replace: Callable[..., Any]  # of every flax.struct dataclass

    kind = None
    is_gaussian = False
    has_score = True
    has_log_ratio = False
    has_modal_log_ratio = False
    has_divergence = False
    has_log_prob_at = False
    has_fast_sampler = False
    can_be_sampled = True
    leading_modes = None
    has_coordinates = False
    arrays_tell_all = True

    def fast_draws(self, key, n, n_steps, churn=0.0):
        """n draws (n, *shape) by the cheapest way that it has; n_steps, churn: as in ``fast_sampling.draw``, where a network
        has to be asked.
        """
        del n_steps, churn
        return self.sample(key, n)


def capability(prior, name):
    """The attribute ``name`` of ``prior``; of an object that is no Prior but has what one must have, the contract's."""
    return getattr(prior, name, getattr(Prior, name))


class LearnedPrior(Prior):
    """Base of priors with a field ``gaussian``, whose shape is theirs."""

    @property
    def shape(self):
        """Shape of a signal."""
        return self.gaussian.shape

    @property
    def dim(self):
        """d, the number of entries of a signal."""
        return self.gaussian.dim


class DiffusionPrior(LearnedPrior):
    """Base of learned priors with a noise prediction ``eps(ut, t)``; their diffusion is that of ``gaussian``, their
    density and draws are those of the probability-flow ODE.
    """

    @property
    def sde(self):
        """The diffusion."""
        return self.gaussian.sde

    def score(self, ut, t):
        """grad log p_t at ``ut`` (d,), -eps / beta, in the scale u = 2 x - 1."""
        return -self.eps(ut, t) / self.sde.beta(t)

    def log_prob(self, x, key=None, **settings):
        """log density of one signal in nats, that of the probability-flow ODE at t_min; arguments as in
        ``ode.log_prob_ode``.
        """
        from aps_core.priors.ode import log_prob_ode

        return log_prob_ode(self, x, key, **settings).log_prob

    def sample(self, key, n, **settings):
        """n draws (n, *shape) of the same ODE; arguments as in ``ode.draw_ode``."""
        from aps_core.priors.ode import draw_ode

        return draw_ode(self, key, n, **settings)
