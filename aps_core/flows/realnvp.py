"""The paper's conditional RealNVP on vectorized signals, from a standard normal base."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_core.checks import flag
from aps_core.flows.base import Flow
from aps_core.flows.coupling import CouplingStack
from aps_core.priors.linear_gaussian import posterior_modes


@flax.struct.dataclass
class Whitening:
    """Coordinates of denoising, along the modes of the closed-form posterior, in which prior and data have unit variance.

    basis V (d, d), orthogonal; data_std (d,): standard deviation of V^T (y - m) under the prior's Gaussian; start (d,):
    that of the posterior over that of the prior, along each mode.
    """

    basis: jax.Array
    data_std: jax.Array
    start: jax.Array

    @classmethod
    def of(cls, task):
        """The Whitening of a denoising Task, and the prior's standard deviation along its modes (d,). Raises ValueError
        for another operator.
        """
        if not task.operator.is_identity:
            raise ValueError(f'flow "realnvp": whitened is for denoising, got the operator {task.operator!r}')
        prior = task.prior.gaussian
        modes = posterior_modes(prior, task.operator, float(task.sigma_y))
        basis = np.asarray(modes.basis)
        for _ in range(2):  # what is shipped is orthogonal to three digits; the flow's inverse needs more
            basis = basis @ (1.5 * np.eye(len(basis), dtype=basis.dtype) - 0.5 * basis.T @ basis)
        std = jnp.sqrt(prior.rest + (basis.T @ prior.basis) ** 2 @ prior.excess)
        return cls(jnp.asarray(basis), jnp.sqrt(std**2 + task.sigma_y**2), modes.std / std), std


@flax.struct.dataclass
class ConditionalRealNVP(Flow):
    """24 flow steps of two affine couplings each, y (zero where missing) concatenated to the couplings' input (Sec.
    4.2).

    No batch statistics: the density is exact. ``loc`` and ``scale`` (d,) are where the last affine layer starts,
    usually the mean and standard deviation of the training signals; both are trained. ``use_mask`` also gives the mask
    to the couplings. With ``conditional`` False the couplings see no measurement: the flow of one posterior, as in DPI
    (Sun & Bouman 2021; Feng et al. 2023).

    Not in the paper: ``shortcut`` adds a linear map of each coupling's input to its shift, ``linear`` one of y to the
    output of all, which starts at zero. With a ``whitening`` couplings and y are in its coordinates, ``scale`` is along
    its modes, and the flow starts with the spread of the closed-form posterior about the mean of the prior, knowing
    nothing of y.
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
    linear: bool = flax.struct.field(pytree_node=False, default=False)
    whitening: Whitening | None = None

    @classmethod
    def for_task(cls, task, whitened=False, **settings):
        """The untrained flow, which starts with the mean and spread of the task's Gaussian; settings: the fields from
        ``steps`` to ``linear``. whitened: with the Whitening of the task, which must be denoising.
        """
        flag("flow 'realnvp': whitened", whitened)
        if settings.get("linear") and not settings.get("conditional", True):
            raise ValueError('flow "realnvp": linear is a path from y, which conditional = false does not see')
        if settings.get("conditional", True) and task.y_shape != task.shape:
            raise ValueError(
                f'flow "realnvp" sees data of the shape of a signal, {task.shape}, got an operator with data of {task.y_shape}; '
                'flow "tokens" takes any linear operator, conditional = false is the flow of one measurement'
            )
        gaussian = task.prior.gaussian
        if not whitened:
            return cls(gaussian.mean, gaussian.marginal_std, shape=task.shape, **settings)
        if settings.get("use_mask"):
            raise ValueError('flow "realnvp": whitened is for denoising, which has no mask: use_mask must be false')
        whitening, std = Whitening.of(task)
        return cls(gaussian.mean, std, shape=task.shape, whitening=whitening, **settings)

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
        if self.linear:
            out["kernel"] = jnp.zeros((n_condition, self.dim), self.loc.dtype)
        return {"couplings": self.stack.init(key, n_condition), "out": out}

    def context(self, measurement):
        """What the couplings see of one measurement: y standardized where observed, zero where missing."""
        if not self.conditional:
            return jnp.zeros(0)
        y = measurement.y.reshape(-1)
        if self.whitening is not None:
            return ((y - self.loc) @ self.whitening.basis) / self.whitening.data_std
        mask = jnp.ones_like(y) if measurement.mask is None else measurement.mask.reshape(-1)
        y = mask * (y - self.loc) / self.scale
        return jnp.concatenate([y, mask]) if self.use_mask else y

    def forward(self, params, z, context):
        """x (d,) and log|dx/dz| for one z (d,)."""
        out, start = params["out"], jnp.ones(()) if self.whitening is None else self.whitening.start
        w, log_det = self.stack.forward(params["couplings"], start * z, context)
        w = jnp.exp(out["log_scale"]) * self._moved(out, w, context)
        x = w if self.whitening is None else self.whitening.basis @ w
        return out["loc"] + x, log_det + self._log_volume(out)

    def inverse(self, params, x, context):
        """z (d,) and log|dz/dx| for one x (d,)."""
        out, start = params["out"], jnp.ones(()) if self.whitening is None else self.whitening.start
        x = x - out["loc"]
        w = (x if self.whitening is None else x @ self.whitening.basis) * jnp.exp(-out["log_scale"])
        z, log_det = self.stack.inverse(params["couplings"], self._moved(out, w, context, -1), context)
        return z / start, log_det - self._log_volume(out)

    def _moved(self, out, w, context, sign=1):
        # over the root of its inputs: a step of Adam in all weights of a row would else move the output by as many steps
        return w + sign * (context @ out["kernel"]) / context.size**0.5 if self.linear else w

    def _log_volume(self, out):
        """log-determinant of all that is affine and outside the couplings; a whitening's basis turns and has none."""
        extra = 0.0 if self.whitening is None else jnp.sum(jnp.log(self.whitening.start))
        return jnp.sum(out["log_scale"]) + extra
