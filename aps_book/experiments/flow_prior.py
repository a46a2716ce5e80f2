"""A normalizing flow trained by maximum likelihood as the prior: the discrete-flow prior of Feng et al. (2023), App. C."""

import flax.struct
import jax
import jax.numpy as jnp

from aps_core.diffusion import make_sde
from aps_core.flows.base import log_standard_normal
from aps_core.flows.coupling import CouplingStack
from aps_core.priors import KINDS
from aps_core.priors.base import LearnedPrior
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.score_network import dequantized


@flax.struct.dataclass
class DiscreteFlowPrior(LearnedPrior):
    """Unconditional RealNVP on flattened signals: ``steps`` flow steps of two affine couplings each (32 are the paper's
    64 couplings).

    Its density is exact, in nats of the signal's own scale [0, 1]; networks trained on 8-bit data want them dequantized
    (``maximum_likelihood_loss``). x = loc + scale * f(z), with loc and scale (d,) trained, from the mean and spread of
    ``gaussian``, which is kept because conditional flows start from it. ``whiten`` puts the modes of the Gaussian
    behind that, x = m + B s (loc + scale * f(z)) with s their standard deviations: it starts as the Gaussian. Not in
    the paper.
    """

    kind = "flow"
    has_score = False

    gaussian: GaussianPrior
    params: dict
    steps: int = flax.struct.field(pytree_node=False, default=32)
    width: int = flax.struct.field(pytree_node=False, default=128)
    depth: int = flax.struct.field(pytree_node=False, default=2)
    whiten: bool = flax.struct.field(pytree_node=False, default=False)

    def tree(self):
        """The arrays of a DiscreteFlowPrior as a nested dict."""
        g = self.gaussian
        arrays = {"mean": g.mean, "basis": g.basis, "excess": g.excess, "rest": jnp.reshape(g.rest, (1,))}
        return {"gaussian": arrays, "flow": self.params}

    def settings(self):
        """What a card must say to build the self again."""
        own = {name: getattr(self, name) for name in ("steps", "width", "depth", "whiten")}
        return {"shape": list(self.shape), "sde": self.gaussian.sde.settings(), **own}

    @classmethod
    def from_tree(cls, tree, settings):
        """The DiscreteFlowPrior of ``tree`` and ``settings``; KeyError where they do not hold
        one.
        """
        g = {name: jnp.asarray(value) for name, value in tree["gaussian"].items()}
        sde = make_sde(settings["sde"])
        gaussian = GaussianPrior(
            g["mean"], g["basis"], g["excess"], g["rest"][0], shape=tuple(settings["shape"]), sde=sde
        )
        return cls(
            gaussian,
            tree["flow"],
            settings["steps"],
            settings["width"],
            settings["depth"],
            settings.get("whiten", False),
        )

    @property
    def stack(self):
        """The scanned couplings, without a condition."""
        return CouplingStack(self.dim, self.width, self.steps, self.depth)

    def log_prob(self, x):
        """Exact log density of one signal of shape ``shape``, in nats."""
        z, log_det = self.base(x)
        return log_standard_normal(z) + log_det

    def base(self, x):
        """z (d,) of one signal and log|dz/dx|: of draws of the prior, z is standard normal."""
        out, x, log_det = self.params["out"], x.reshape(-1), 0.0
        if self.whiten:
            std = self._mode_std
            x, log_det = ((x - self.gaussian.mean) @ self.gaussian.basis) / std, -jnp.sum(jnp.log(std))
        x = (x - out["loc"]) * jnp.exp(-out["log_scale"])
        z, through = self.stack.inverse(self.params["couplings"], x, jnp.zeros(0))
        return z, log_det + through - jnp.sum(out["log_scale"])

    @property
    def _mode_std(self):
        return jnp.sqrt(self.gaussian.excess + self.gaussian.rest)

    def elbo(self, key, x, n_times=1):
        """The log density itself: there is nothing to bound. ``key`` and ``n_times`` are those of diffusion priors."""
        del key, n_times
        return self.log_prob(x)

    def sample(self, key, n):
        """n draws, (n, *shape)."""
        out = self.params["out"]

        def draw(z):
            x, _ = self.stack.forward(self.params["couplings"], z, jnp.zeros(0))
            x = out["loc"] + jnp.exp(out["log_scale"]) * x
            return self.gaussian.mean + self.gaussian.basis @ (self._mode_std * x) if self.whiten else x

        return jax.vmap(draw)(jax.random.normal(key, (n, self.dim))).reshape((n, *self.shape))


def init_discrete_prior(key, gaussian, steps=32, width=128, depth=2, whiten=False):
    """A DiscreteFlowPrior that starts as independent entries with the mean and spread of ``gaussian``, with ``whiten``
    as that Gaussian.

    Raises ValueError for ``whiten`` with a Gaussian of fewer modes than entries.
    """
    if whiten and gaussian.basis.shape[1] != gaussian.dim:
        raise ValueError(f"whiten needs a Gaussian of all {gaussian.dim} modes, got {gaussian.basis.shape[1]}")
    variance = gaussian.rest + jnp.sum(gaussian.basis**2 * gaussian.excess, axis=1)
    couplings = CouplingStack(gaussian.dim, width, steps, depth).init(key, 0)
    out = {"loc": gaussian.mean, "log_scale": 0.5 * jnp.log(variance)}
    if whiten:
        out = {name: jnp.zeros(gaussian.dim) for name in out}
    return DiscreteFlowPrior(gaussian, {"couplings": couplings, "out": out}, steps, width, depth, whiten)


def maximum_likelihood_loss(prior, key, signals, dequantize=None):
    """Mean negative log density of ``signals`` (n, *shape), in nats per entry.

    dequantize: width of uniform noise that is added first (1/255 for 8-bit data); without it the likelihood of 8-bit
    data has no bound.
    """
    return -jnp.mean(jax.vmap(prior.log_prob)(dequantized(key, signals, dequantize))) / prior.dim


KINDS[DiscreteFlowPrior.kind] = DiscreteFlowPrior  # so that ``load_prior`` reads its files
