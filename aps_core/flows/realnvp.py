"""The paper's conditional RealNVP on vectorized signals, from a standard normal base."""

import flax.struct
import jax
import jax.numpy as jnp

from aps_core.flows.base import Flow
from aps_core.flows.coupling import CouplingStack


@flax.struct.dataclass
class ConditionalRealNVP(Flow):
    """24 flow steps of two affine couplings each, y (zero where missing) concatenated to the couplings' input (Sec.
    4.2).

    No batch statistics: the density is exact. ``loc`` and ``scale`` (d,) are where the last affine layer starts,
    usually the mean and standard deviation of the training signals; both are trained. ``use_mask`` also gives the mask
    to the couplings; ``shortcut`` adds a linear map of the couplings' input to their shifts (not in the paper). With
    ``conditional`` False the couplings see no measurement: the flow of one posterior, as in DPI (Sun & Bouman 2021;
    Feng et al. 2023).
    """

    loc: jax.Array
    scale: jax.Array
    shape: tuple = flax.struct.field(pytree_node=False)
    steps: int = flax.struct.field(pytree_node=False, default=24)
    width: int = flax.struct.field(pytree_node=False, default=384)
    depth: int = flax.struct.field(pytree_node=False, default=2)
    use_mask: bool = flax.struct.field(pytree_node=False, default=False)
    shortcut: bool = flax.struct.field(pytree_node=False, default=False)
    conditional: bool = flax.struct.field(pytree_node=False, default=True)

    @classmethod
    def for_task(cls, task, **settings):
        """The untrained flow, which starts with the mean and spread of the task's Gaussian; settings: the fields from
        ``steps`` on.
        """
        if settings.get("conditional", True) and task.y_shape != task.shape:
            raise ValueError(
                f'flow "realnvp" sees data of the shape of a signal, {task.shape}, got an operator with data of {task.y_shape}; '
                'flow "tokens" takes any linear operator, conditional = false is the flow of one measurement'
            )
        return cls(task.prior.gaussian.mean, task.prior.gaussian.marginal_std, shape=task.shape, **settings)

    @property
    def dim(self):
        """Number of entries of a signal."""
        return self.loc.shape[0]

    @property
    def stack(self):
        """The scanned couplings."""
        return CouplingStack(self.dim, self.width, self.steps, self.depth, self.shortcut)

    def init(self, key):
        """Parameters: the flow starts as x = loc + scale * z."""
        n_condition = self.dim * (1 + self.use_mask) * self.conditional
        out = {"loc": self.loc, "log_scale": jnp.log(self.scale)}
        return {"couplings": self.stack.init(key, n_condition), "out": out}

    def context(self, measurement):
        """What the couplings see of one measurement: y standardized by loc and scale where observed, zero where
        missing.
        """
        if not self.conditional:
            return jnp.zeros(0)
        y = measurement.y.reshape(-1)
        mask = jnp.ones_like(y) if measurement.mask is None else measurement.mask.reshape(-1)
        y = mask * (y - self.loc) / self.scale
        return jnp.concatenate([y, mask]) if self.use_mask else y

    def forward(self, params, z, context):
        """x (d,) and log|dx/dz| for one z (d,)."""
        x, log_det = self.stack.forward(params["couplings"], z, context)
        out = params["out"]
        return out["loc"] + jnp.exp(out["log_scale"]) * x, log_det + jnp.sum(out["log_scale"])

    def inverse(self, params, x, context):
        """z (d,) and log|dz/dx| for one x (d,)."""
        out = params["out"]
        x = (x - out["loc"]) * jnp.exp(-out["log_scale"])
        z, log_det = self.stack.inverse(params["couplings"], x, context)
        return z, log_det - jnp.sum(out["log_scale"])
