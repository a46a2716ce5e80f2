"""The settings of Adam that a recipe gives, checked: rate with warm-up and cosine decay, clipping, averaging, frozen parameters."""

from dataclasses import dataclass, fields

import jax
import numpy as np
import optax

from aps_core import checks

PRECISIONS = ("float32", "tensorfloat32", "bfloat16")


@dataclass(frozen=True)
class Optimizer:
    """Adam settings of a recipe: ``steps`` in all, peak ``learning_rate`` after ``warmup`` steps (by default 100, or a
    quarter of ``steps`` where that is less), then cosine decay to ``final`` of it.

    clip: largest global gradient norm; ema: decay of the averaged weights (0 keeps the last ones); seed: of all
    randomness, from 0 to 2^31 - 1. matmul: precision of matrix products on a GPU or TPU, "float32", "tensorfloat32" or
    "bfloat16"; a CPU always uses float32. frozen: parameters that stay as they are, by their path
    ("network/params/Dense_0/kernel") or the beginning of one.
    """

    steps: int
    learning_rate: float = 1e-3
    warmup: int | None = None
    final: float = 0.01
    clip: float = 1.0
    ema: float = 0.995
    seed: int = 0
    matmul: str = "float32"
    frozen: tuple = ()

    def __post_init__(self):
        set_field = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        set_field("steps", checks.count("optimizer steps", self.steps))
        for name in ("learning_rate", "clip"):
            checks.positive(f"optimizer {name}", getattr(self, name))
        for name in ("learning_rate", "clip", "final", "ema"):
            set_field(name, checks.number(f"optimizer {name}", getattr(self, name)))
        if self.warmup is None:
            set_field("warmup", min(100, self.steps // 4))
        if isinstance(self.warmup, bool) or not isinstance(self.warmup, (int, np.integer)):
            raise TypeError(f"optimizer warmup must be an integer, got {self.warmup!r}")
        if not 0 <= self.warmup < self.steps:
            raise ValueError(f"optimizer warmup must lie in 0..steps-1 (steps {self.steps}), got {self.warmup!r}")
        set_field("warmup", int(self.warmup))
        if not 0 <= self.final <= 1:
            raise ValueError(f"optimizer final must lie in [0, 1], a share of learning_rate, got {self.final!r}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"optimizer ema must lie in [0, 1), got {self.ema!r}")
        if not isinstance(self.matmul, str) or self.matmul not in PRECISIONS:
            raise ValueError(f"optimizer matmul must be one of {PRECISIONS}, got {self.matmul!r}")
        if (
            isinstance(self.frozen, str)
            or not np.iterable(self.frozen)
            or not all(isinstance(name, str) for name in self.frozen)
        ):
            raise TypeError(f"optimizer frozen must be a list of paths of parameters, got {self.frozen!r}")
        object.__setattr__(self, "frozen", tuple(self.frozen))
        object.__setattr__(self, "seed", checks.seed("optimizer seed", self.seed))

    @classmethod
    def of(cls, settings):
        """The Optimizer of a recipe's [optimizer]. Raises TypeError or ValueError that names the setting."""
        if not isinstance(settings, dict):
            raise TypeError(f"[optimizer] must be a table, a dict of settings, got {settings!r:.80}")
        checks.known("[optimizer]", settings, [field.name for field in fields(cls)])
        if "steps" not in settings:
            raise ValueError("[optimizer] has no steps: how many are to be done in all; expected steps = an integer")
        return cls(**settings)

    def freeze(self, params):
        """``params``, of which the frozen ones get no gradient. Raises ValueError for a path that none of them has."""
        if not self.frozen:
            return params
        paths = ["/".join(map(_name, path)) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
        for name in self.frozen:
            if not any(_lies_in(path, name) for path in paths):
                raise ValueError(f"optimizer frozen names {name!r}, which is no path of parameters; there are {paths}")
        held = [any(_lies_in(path, name) for name in self.frozen) for path in paths]
        leaves, structure = jax.tree.flatten(params)
        leaves = [jax.lax.stop_gradient(a) if stays else a for a, stays in zip(leaves, held, strict=True)]
        return jax.tree.unflatten(structure, leaves)

    def transform(self):
        """The optax chain."""
        peak = self.learning_rate
        schedule = optax.warmup_cosine_decay_schedule(0.0, peak, self.warmup, self.steps, peak * self.final)
        return optax.chain(optax.clip_by_global_norm(self.clip), optax.adam(schedule))


def _name(key):
    return str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key))))


def _lies_in(path, name):
    return path == name or path.startswith(name.rstrip("/") + "/")
