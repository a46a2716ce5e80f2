"""Trained posteriors by name."""

from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike

import jax
import jax.numpy as jnp
import numpy as np

from aps_core import checks
from aps_core import weights as weights_file
from aps_core.checks import count, finite_result, is_traced, measured_array, random_key, real
from aps_core.flows import Flow, build_flow
from aps_core.flows.base import log_standard_normal
from aps_core.flows.closed_form import closed_form
from aps_core.priors.base import PRIOR_WANTED
from aps_core.tasks import load_task
from aps_core.tasks.fingerprint import differences, made_for, same_prior
from aps_core.tasks.problem import PROTOCOLS, Task
from aps_core.weights import trained_by

TOGETHER = 16  # samples that are computed side by side, of one measurement or of several
REFINERS: list = []  # what refines a posterior: ``training.refine`` puts itself here, since it stands above this module

# (task, protocol) -> weights, where those of the usual name are not the best (weights/results/default_flows.json)
BETTER = {("faces-denoise", "held-out"): "faces-denoise-reverse-spread"}
# weights of flows that were trained for many operators under their prior, or for many masks and noise levels
FOR_MANY = ("faces-any", "sphere-impute-any")


def load_posterior(task, protocol="held-out", weights=None):
    """The trained q(x | y) of ``task``.

    task: a name (see ``list_tasks``) or a Task. Its noise, or its missing entries, may differ from those of training
    where the flow says that it serves others (``Flow.serves_any_noise``, ``serves_any_mask``). protocol: "held-out"
    (trained on measurements of training signals) or "paper" (on measurements of the test signals).
    weights: name or path of a weights file; by default "<task>-<protocol>" or a better one (below), or, where there is
    none or it was made for another operator or noise, those of a flow that was trained for many of them under the
    task's prior (``FOR_MANY``): any linear operator on faces, which is factorized (once; the result is kept in the cache
    folder), and any mask and noise on the sphere. What trained it says ``trained_by`` of the
    result; "<task>-reverse" is the flow that the paper's objective alone has trained, where there is one. Of several
    flows of protocol "held-out" the default is the one of the lowest energy score on validation signals
    (weights/results/default_flows.json).

    Raises TypeError or ValueError for an unknown task or protocol, FileNotFoundError or WeightsError for weights that
    are missing or altered, and WeightsError, saying what differs, for weights of another task, operator, noise, prior
    or flow.
    """
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {sorted(PROTOCOLS)}, got {protocol!r}")
    task = task if isinstance(task, Task) else load_task(task)
    if weights is not None and not isinstance(weights, (str, PathLike)):
        raise TypeError(f"weights must be a name or a path, or None for those of the task, got {weights!r:.80}")
    if weights is not None and not str(weights):
        raise ValueError(f"weights must be a name or a path, or None for those of the task, got {weights!r}")
    name = weights if weights is not None else _weights_for(task, protocol)
    posterior = load_start(task, name)
    _check_made_for(posterior, name)
    return posterior


def default_weights(name, protocol="held-out"):
    """The weights that ``load_posterior`` gives of the task ``name``."""
    return BETTER.get((name, protocol), f"{name}-{protocol}")


def _weights_for(task, protocol):
    """The default weights of ``task``: its own, where they fit or nothing else does."""
    own = default_weights(task.name, protocol)
    if protocol != "held-out" or not task.operator.linear or not task.operator.additive_noise:
        return own
    try:
        if not differences(weights_file.load_card(own)["made_for"], task):
            return own
    except (KeyError, TypeError, FileNotFoundError):
        pass
    return next((name for name in FOR_MANY if _serves(name, task)), own)


def _serves(name, task):
    """Whether the weights ``name`` of FOR_MANY are there and serve the prior and the operator of ``task``."""
    try:
        card = weights_file.load_card(name)
        if not same_prior(card["made_for"], task):
            return False
    except (KeyError, TypeError, FileNotFoundError):
        return False
    return (bool(card.get("any_operator")) and not task.operator.random) or (
        task.operator.diagonal and bool(card.get("any_mask"))
    )


def load_start(task, name):
    """The weights ``name`` in a flow for ``task``, to train on from: made for the same task, whatever its noise and its
    operator were. Raises WeightsError where they are of another task or flow.
    """
    params, card = weights_file.load(name)
    if card.get("task") != task.name and not (card.get("any_operator") or card.get("any_mask")):
        raise weights_file.WeightsError(f"weights {str(name)!r} are of task {card.get('task')!r}, not of {task.name!r}")
    try:
        flow = build_flow(task, card["flow"])
    except (KeyError, TypeError, ValueError) as error:
        raise weights_file.WeightsError(
            f"weights {str(name)!r} have a card whose flow cannot be built for {task!r}: {error}"
        ) from error
    weights_file.check_arrays(name, params, jax.eval_shape(flow.init, jax.random.key(0)))
    return AmortizedPosterior(task, flow, params, card)


def _check_made_for(posterior, name):
    """Raise WeightsError unless the weights are for the posterior's task."""
    task, flow, card = posterior.task, posterior.flow, posterior.card
    try:
        serves = flow.serves_any_noise, flow.serves_any_mask, flow.serves_any_operator
        found = differences(card["made_for"], task, *serves)
    except (KeyError, TypeError) as error:
        raise weights_file.WeightsError(
            f"the card of weights {str(name)!r} does not say for which operator, noise and prior they were made "
            f"({error!r}); expected made_for, which save_posterior and training write"
        ) from error
    if found:
        raise weights_file.WeightsError(
            f"weights {str(name)!r} were made for another problem than {task!r}: {'; '.join(found)}; expected the task of "
            f"training, or weights trained for this one"
        )


def save_posterior(posterior, path, dtype=np.float16):
    """Write a trained posterior and its card to ``path`` (.safetensors); ``load_posterior(task, weights=path)`` reads it.

    Raises ValueError for what no recipe can say, and so nothing could read: a closed form, a tempered flow, a flow of
    one's own.
    """
    if not getattr(posterior.flow, "of_recipes", False) or "flow" not in posterior.card:
        raise ValueError(
            f"posterior is {posterior!r}, expected one of build_flow, whose card says the settings of its flow: a closed form, "
            "a tempered flow and a flow of your own cannot be read again"
        )
    card = {"task": posterior.task.name, "made_for": made_for(posterior.task), **posterior.card}
    return weights_file.save(path, posterior.params, card, dtype)


def gaussian_posterior(task):
    """The closed-form posterior under the Gaussian part of the task's prior, behind the same interface; nothing is
    trained.

    For any linear operator; one whose A^T A is not diagonal is factorized here, so keep the result. Raises TypeError
    for others.
    """
    checks.task_like(task)
    checks.has("prior", task.prior, ["gaussian"], PRIOR_WANTED)
    return AmortizedPosterior(task, closed_form(task.prior.gaussian, task.operator, float(task.sigma_y)), {})


def untrained_posterior(task, flow, seed=0):
    """The posterior of an untrained flow; ``flow`` is a recipe's [flow] table or a trained posterior's
    ``card["flow"]``.
    """
    built = build_flow(task, flow)
    params = built.init(jax.random.key(checks.seed("seed", seed)))
    return AmortizedPosterior(task, built, params, {"flow": dict(flow)})


@dataclass(frozen=True, repr=False, eq=False)
class AmortizedPosterior:
    """q(x | y): draws posterior samples of any measurement of ``task`` with one network evaluation, with exact density.

    ``flow`` gives context(measurement), forward(params, z, context) and inverse(params, x, context); ``card`` says
    where the weights come from. Rivals that have a density are the same class with another flow.
    """

    task: Task
    flow: Flow
    params: dict = field(repr=False)
    card: dict = field(default_factory=dict, repr=False)
    nfe: int = 1

    @property
    def trained_by(self):
        """What trained the flow, such as "reverse divergence, measurements only"; "nothing" for a closed form."""
        return trained_by(self.card)

    def __repr__(self):
        n = sum(np.size(leaf) for leaf in jax.tree.leaves(self.params))
        source = f"weights {self.card['name']!r}" if "name" in self.card else "no weights from a file"
        return f"AmortizedPosterior({type(self.flow).__name__} with {n:,} parameters, {source},\n  of {self.task!r})"

    def sample(self, key, measurement, n):
        """n samples (n, *shape), or (batch, n, *shape) of a batch of measurements; signals in [0, 1], not clipped.

        Raises ValueError or TypeError for an invalid key, measurement or n, NotFiniteError (a FloatingPointError) where
        the numbers are not finite. Works inside ``jit``, ``grad`` and ``vmap``, where values are not checked.
        """
        return self.sample_and_log_prob(key, measurement, n)[0]

    def sample_and_log_prob(self, key, measurement, n):
        """Samples as in ``sample`` and their log density in nats, (n,) or (batch, n)."""
        n, key = count("n", n), random_key("key", key)
        batched, measurement = self.task.batch(measurement)
        checks.drawn_at_once(n, len(measurement.y), self.flow.shape)
        keys = jax.random.split(key, measurement.y.shape[0]) if batched else key[None]
        x, log_q = _sample(self.flow, self.params, keys, measurement, n)
        x, log_q = (x, log_q) if batched else (x[0], log_q[0])
        finite_result(f"{self!r} with n = {n}", x, log_q)
        return x, log_q

    def with_noise(self, sigma_y):
        """The same posterior for another noise level: its networks keep their weights and see the level in the Gaussian
        posterior that the flow stands on. Raises ValueError where the flow was made for one level alone.
        """
        flow = self.flow.with_noise(sigma_y)
        return replace(self, task=replace(self.task, sigma_y=float(sigma_y)), flow=flow)

    def log_prob(self, x, measurement):
        """log q(x | y) in nats: x (n, *shape) -> (n,), or (batch, n, *shape) -> (batch, n). Raises as ``sample``."""
        batched, measurement = self.task.batch(measurement)
        log_q = _log_prob(self.flow, self.params, signals_for(x, self.task, measurement, batched), measurement)
        finite_result(f"log_prob of {self!r}", log_q)
        return log_q if batched else log_q[0]

    def refine(self, measurement, seconds=None, steps=None, **settings):
        """This flow trained on for one ``measurement`` alone: an AmortizedPosterior for it, whose card says by what.

        Gradient steps of the flow's own objective, the reverse divergence (Eq. 11) with the path gradient: for
        ``seconds`` of wall-clock time, of which the first compile, or for ``steps``. settings: those of
        ``training.refine.Refinement``, and ``watch`` and ``progress``; errors: as there and of ``training.refine.refine``.
        """
        return REFINERS[-1](self, measurement, seconds=seconds, steps=steps, **settings)


def signals_for(x, task, measurement, batched):
    """``x`` as (batch, n, *shape) for a batched ``measurement``, from (n, *shape) where it was a single one. Raises
    TypeError or ValueError for another kind or shape.
    """
    x, batch = _signals(x), len(measurement.y)
    expected = (batch, "n", *task.shape) if batched else ("n", *task.shape)
    if x.ndim != len(expected) or any(e != "n" and e != s for e, s in zip(expected, x.shape, strict=True)):
        raise ValueError(f"x must have shape {expected}, got {x.shape}")
    return x if batched else x[None]


def _signals(x):
    """``x`` as a floating-point array. Raises TypeError or ValueError for other entries than finite numbers."""
    x = jnp.asarray(real("x", measured_array("x", x)))
    if not jnp.issubdtype(x.dtype, jnp.number):
        raise TypeError(f"x must be numbers, got {x.dtype}")
    if not x.size:
        raise ValueError(f"x is empty, of shape {x.shape}, expected at least one signal")
    x = x.astype(jnp.result_type(x.dtype, jnp.float32))
    if not is_traced(x) and not np.all(np.abs(np.asarray(x)) <= checks.LARGEST_ENTRY):  # nor where it is NaN
        raise ValueError(
            f"x must be finite and at most {checks.LARGEST_ENTRY:g} in magnitude, got entries that are not"
        )
    return x


def _of_each(one, args, batch, n):
    """``one`` of each of a batch of measurements with n samples: some of them side by side where n is small."""
    together = min(TOGETHER // n, batch)
    return jax.lax.map(one, args, batch_size=together if together > 1 else None)


@partial(jax.jit, static_argnums=4)
def _sample(flow, params, keys, measurements, n):
    def one(args):
        key, measurement = args
        context = flow.context(measurement)
        z = jax.random.normal(key, (n, flow.dim))
        x, log_det = jax.vmap(lambda zi: flow.forward(params, zi, context))(z)
        return x.reshape((n, *flow.shape)), jax.vmap(log_standard_normal)(z) - log_det

    return _of_each(one, (keys, measurements), len(keys), n)


@jax.jit
def _log_prob(flow, params, x, measurements):
    def one(args):
        xs, measurement = args
        context = flow.context(measurement)
        z, log_det = jax.vmap(lambda xi: flow.inverse(params, xi.reshape(-1), context))(xs)
        return jax.vmap(log_standard_normal)(z) + log_det

    return _of_each(one, (x, measurements), *x.shape[:2])
