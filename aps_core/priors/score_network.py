"""Diffusion priors whose network acts on all entries of a signal: the residual to a Gaussian score, or a plain score."""

from dataclasses import fields

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_core.checks import size
from aps_core.diffusion import make_sde
from aps_core.priors import bound, fast_sampling
from aps_core.priors.base import DiffusionPrior
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.networks.dense import ResidualMLP
from aps_core.priors.networks.local import LocalMLP, Neighbourhoods
from aps_core.priors.networks.patches import PatchTransformer, Tokens

NETWORKS = {"dense": ResidualMLP, "local": LocalMLP, "patches": PatchTransformer}


@flax.struct.dataclass
class NetworkPrior(DiffusionPrior):
    """eps_theta from a network(u (d,), t, condition) -> (d,), with u = 2 x - 1 the diffused variable.

    residual: eps_theta = eps_G + R(t) network(D_G, t, eps_G), where eps_G is the Gaussian's noise prediction and D_G
    its denoised signal (u_t - beta eps_G) / alpha, standardized by the mean and the rms spread of signals (in its own
    scale the network hardly learns). They hold u_t, split into what is signal and what is noise: a mode of small
    variance, invisible in u_t, is of order one in eps_G at the times that matter for it. R(t) multiplies each mode of
    the Gaussian by alpha sigma beta / (alpha^2 sigma^2 + beta^2), as in ScorePrior: the size that a residual can have
    in that mode, so that the network's output is of order one. In pixel space modes of a million-fold different
    variance share every entry; a single factor for all of them would let an error in one spoil the others. R vanishes
    as t -> 0, and nearly so at t = 1; below ``t_residual`` the residual is zero.

    Otherwise eps_theta = beta / v u_t + alpha s / v^(1/2) network(u_t / v^(1/2), t), with v = alpha^2 s^2 + beta^2 and
    s^2 the mean square of u: the preconditioning of Karras et al. (2022), under which the network's target has variance
    one at every t. ``t_residual`` is then the t_min of the diffusion. The Gaussian is kept in either case: flows start
    from it.
    """

    kind = "network"
    has_log_ratio = True

    gaussian: GaussianPrior
    params: dict
    network: nn.Module = flax.struct.field(pytree_node=False)
    residual: bool = flax.struct.field(pytree_node=False, default=True)
    t_residual: float = flax.struct.field(pytree_node=False, default=1e-4)

    def tree(self):
        """The arrays of a NetworkPrior as a nested dict; the index of its tokens is one of them."""
        g = self.gaussian
        tree = {
            "gaussian": {"mean": g.mean, "basis": g.basis, "excess": g.excess, "rest": jnp.reshape(g.rest, (1,))},
            "network": self.params,
        }
        if self.network.tokens is not None:
            tree["tokens"] = self.network.tokens.index
        return tree

    def settings(self):
        """What a card must say to build the self again."""
        return {
            "shape": list(self.shape),
            "sde": self.sde.settings(),
            "network": network_settings(self.network),
            "residual": self.residual,
            "t_residual": self.t_residual,
        }

    @classmethod
    def from_tree(cls, tree, settings):
        """The NetworkPrior of ``tree`` and ``settings``; KeyError or ValueError where they do
        not hold one.
        """
        g = {name: jnp.asarray(value) for name, value in tree["gaussian"].items()}
        shape = tuple(settings["shape"])
        gaussian = GaussianPrior(
            g["mean"], g["basis"], g["excess"], g["rest"][0], shape=shape, sde=make_sde(settings["sde"])
        )
        cut = Neighbourhoods if _network_class(settings["network"].get("kind")).has_sites else Tokens
        tokens = cut(np.asarray(tree["tokens"])) if "tokens" in tree else None
        network = build_network(settings["network"], shape, tokens)
        return cls(gaussian, tree["network"], network, settings["residual"], settings["t_residual"])

    @property
    def has_fast_sampler(self):
        """Whether it is a residual: then what is Gaussian of the probability-flow ODE is solved exactly."""
        return self.residual

    def fast_draws(self, key, n, n_steps, churn=0.0):
        """n draws (n, *shape) by ``fast_sampling.draw``, or of the ODE where the network predicts the whole score."""
        if self.has_fast_sampler:
            return fast_sampling.draw(self, key, n, n_steps, churn=churn)
        return self.sample(key, n)

    def eps(self, ut, t):
        """Noise prediction for ``ut`` (d,)."""
        return self.gaussian.eps(ut, t) + self.residual_eps(ut, t) if self.residual else self._plain_eps(ut, t)

    def denoise(self, ut, t):
        """E[u | u_t] by Tweedie's formula, (d,), in the scale u = 2 x - 1."""
        return (ut - self.sde.beta(t) * self.eps(ut, t)) / self.sde.alpha(t)

    def residual_eps(self, ut, t):
        """eps_theta - eps_G for ``ut`` (d,)."""
        eps = self.gaussian.eps(ut, t)
        if not self.residual:
            return self._plain_eps(ut, t) - eps
        return jnp.where(t >= self.t_residual, 1.0, 0.0) * self._sized(self.network_output(ut, t, eps), t)

    def network_output(self, ut, t, eps=None):
        """The network's output (d,), of order one, before R(t) gives it its size; ``eps`` is the Gaussian's noise
        prediction, where known.
        """
        eps = self.gaussian.eps(ut, t) if eps is None else eps
        denoised = (ut - self.sde.beta(t) * eps) / self.sde.alpha(t) - (2 * self.gaussian.mean - 1)
        return self.network.apply(self.params, denoised / jnp.sqrt(self.mean_variance), t, eps)

    @property
    def mean_variance(self):
        """Mean variance of the entries of u."""
        return 4 * (self.gaussian.rest + jnp.sum(self.gaussian.excess) / self.dim)

    def _sized(self, out, t):
        """R(t) out."""
        alpha, beta, g = self.sde.alpha(t), self.sde.beta(t), self.gaussian

        def size(variance):  # in the scale u = 2 x - 1
            return alpha * beta * 2 * jnp.sqrt(variance) / (4 * alpha**2 * variance + beta**2)

        rest = size(g.rest)
        return rest * out + g.basis @ ((size(g.excess + g.rest) - rest) * (out @ g.basis))

    def _plain_eps(self, ut, t):
        factor, total, size = self._preconditioning(t)
        return factor * ut + size * self.network.apply(self.params, ut / jnp.sqrt(total), t)

    def _preconditioning(self, t):
        """beta / v, v and alpha s / v^(1/2) of a plain network."""
        alpha, beta = self.sde.alpha(t), self.sde.beta(t)
        second_moment = jnp.mean((2 * self.gaussian.mean - 1) ** 2) + self.mean_variance
        total = alpha**2 * second_moment + beta**2
        return beta / total, total, alpha * jnp.sqrt(second_moment / total)

    def log_ratio_at(self, key, x, t):
        """One-sample estimate of (bound on log p_theta) - log p_G for one signal at one weighted time >=
        ``t_residual``.

        For a plain network the difference of the two start-time terms is left out.
        """
        u = 2 * x.reshape(-1) - 1
        return bound.log_ratio_at(self.gaussian.eps, self.residual_eps, self.sde, u, t, key, self.t_residual)

    def log_ratio(self, key, x, n_times=1):
        """Estimate of (bound on log p_theta(x)) - log p_G(x) in nats for one signal, from ``n_times`` low-discrepancy
        times.
        """
        if not self.residual:
            return self.elbo(key, x, n_times) - self.gaussian.log_prob(x)
        return self._mean_over_times(self.log_ratio_at, key, x, n_times)

    def elbo(self, key, x, n_times=1):
        """Estimate of the bound on log p_theta(x), in nats: the Gaussian log density plus the estimated difference, or
        the plain bound.
        """
        if self.residual:
            return self.gaussian.log_prob(x) + self.log_ratio(key, x, n_times)
        bound_at = lambda k, x, t: bound.elbo_at(self.eps, self.sde, 2 * x.reshape(-1) - 1, t, k)  # noqa: E731
        # density of x, not of u = 2 x - 1
        return self._mean_over_times(bound_at, key, x, n_times) + self.dim * jnp.log(2.0)

    def _mean_over_times(self, estimate, key, x, n_times):
        k_time, k_eps = jax.random.split(key)
        t = bound.times(k_time, self.sde, n_times, self.t_residual)
        return jnp.mean(jax.vmap(lambda k, ti: estimate(k, x, ti))(jax.random.split(k_eps, n_times), t))


def init_network_prior(key, gaussian, network, residual=True, t_residual=1e-4):
    """A NetworkPrior with the network's first parameters; with ``residual`` it is the Gaussian prior, otherwise
    t_residual is not used.
    """
    signal = jnp.zeros(gaussian.dim)
    params = jax.jit(network.init)(key, signal, 0.5, *([signal] if residual else []))
    return NetworkPrior(gaussian, params, network, residual, t_residual if residual else gaussian.sde.t_min)


def dequantized(key, signals, width):
    """Signals plus noise that is uniform on [-width/2, width/2]; None leaves them as they are.

    8-bit data k/255 with ``width`` 1/255 become a density on [-1/510, 1 + 1/510], whose mean log over d entries is at
    most log P(k) + d log 255 (Theis et al. 2016).
    """
    return signals if width is None else signals + width * (jax.random.uniform(key, signals.shape) - 0.5)


def denoising_loss(prior, key, signals, dequantize=None):
    """Likelihood-weighted denoising score matching over ``signals`` (n, *shape), in nats per entry, with
    low-discrepancy times.

    The Gaussian's loss under the same noise is taken off, which changes no gradient and removes most of the variance.
    For a residual network its expectation is the mean of log p_G minus the bound on log p_theta: below zero, the
    learned prior is the better one. dequantize: width of uniform noise that is added to the signals first (1/255 for
    8-bit data), or None.
    """
    k_noise, k_time, k_eps = jax.random.split(key, 3)
    x = dequantized(k_noise, signals, dequantize)
    t = bound.times(k_time, prior.sde, len(x), prior.t_residual)
    return -jnp.mean(jax.vmap(prior.log_ratio_at)(jax.random.split(k_eps, len(x)), x, t)) / prior.dim


def build_network(settings, shape, tokens=None):
    """The network that ``settings`` (its ``kind`` in NETWORKS and its fields) describe; ``tokens`` cut the signals of a
    token network.

    Raises ValueError for an unknown kind or field, or where tokens are missing; TypeError or ValueError for a size that is
    none.
    """
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    kind = settings.pop("kind", None)
    network = _network_class(kind)
    sizes = {field.name: field.default for field in fields(network) if type(field.default) is int}
    for name in settings.keys() & sizes:
        if settings[name] or sizes[name]:  # one that is 0 by default may be 0
            settings[name] = size(f"network {kind!r}: {name}", settings[name])
    cuts = network.has_sites or network.has_token_trunk
    if cuts and tokens is None:
        raise ValueError(f'network "{kind}" needs tokens')
    try:
        return network(tokens if cuts else tuple(shape), **settings)
    except TypeError as error:
        raise ValueError(f"network {kind!r}: {error}") from None


def _network_class(kind):
    if not isinstance(kind, str) or kind not in NETWORKS:
        raise ValueError(f"network kind must be one of {sorted(NETWORKS)}, got {kind!r}")
    return NETWORKS[kind]


def network_settings(network):
    """What ``build_network`` needs to build it again, besides shape and tokens."""
    own = [name for name in network.__dataclass_fields__ if name not in ("tokens", "shape", "parent", "name")]
    values = {name: getattr(network, name) for name in own}
    return {"kind": network.kind, **{name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}}
