"""Training of a posterior q(x|y) from a recipe: on measurements, on draws of the prior, or on both."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from aps_core.checks import count, flag, fraction, known, noise, number, one_of
from aps_core.files import sha256_of
from aps_core.flows import build_flow
from aps_core.posterior import AmortizedPosterior, load_start
from aps_core.priors import bound, fast_sampling, terms
from aps_core.tasks import load_task
from aps_core.tasks.fingerprint import digest, made_for, rounded
from aps_core.tasks.problem import PROTOCOLS, Target
from aps_core.training import recorded
from aps_core.training.job import Job, run
from aps_core.training.modal_contexts import context_pool, contexts_of, modal_loss
from aps_core.training.objective import ESTIMATORS, ReverseDivergence, forward_objective
from aps_core.training.operator_pool import GROUPS, make_pool, pool_loss
from aps_core.training.optimizer import Optimizer
from aps_core.training.recipes import Trainer, checked, objective_of
from aps_core.training.validation import validation

OBJECTIVE = {
    "prior_term": "elbo",
    "times": "low-discrepancy",
    "kl": "reverse",
    "forward_share": 0.5,
    "batch": 64,
    "n_samples": 1,
    "n_times": None,
    "estimator": None,
    "times_at_once": None,
    "protocol": "held-out",
    "noise": "fixed",
    "pool": 2048,
    "pool_missing": None,
    "pool_noise": None,
    "draws": None,
    "mirror": False,
    "operators": None,
    "pairs": 256,
    "tweedie_weight": 0.0,
}


CHOICES = {
    "prior_term": terms.TERMS,
    "times": bound.TIMES,
    "kl": ("reverse", "forward", "mixture"),
    "estimator": ESTIMATORS,
    "noise": ("fixed", "fresh"),
}


# (estimator, n_times) where the closed form takes the noise of the prior term away, so that the rest is worth the cost
WITH_CONTROL_VARIATE, WITHOUT_ONE = ("path", 4), ("total", 1)


# the paper's way: the gradient as it comes, one time for each sample, new noise in every step
AS_IN_THE_PAPER = {"estimator": "total", "n_times": 1, "times_at_once": None, "noise": "fresh"}


def objective_settings(recipe):
    """The recipe's [objective] with its defaults. Raises ValueError (TypeError for a number of another kind) for
    unknown names or values.
    """
    settings = objective_of(recipe, OBJECTIVE)
    for name, choices in {**CHOICES, "protocol": tuple(PROTOCOLS)}.items():
        if name != "estimator" or settings[name] is not None:
            one_of(name, settings[name], choices)
    controlled = settings["prior_term"] in ("control-variate", "modes")
    usual = dict(zip(("estimator", "n_times"), WITH_CONTROL_VARIATE if controlled else WITHOUT_ONE, strict=True))
    settings.update({name: value for name, value in usual.items() if settings[name] is None})
    if (
        settings["times_at_once"] is None
        and settings["prior_term"] == "control-variate"
        and settings["estimator"] == "path"
    ):
        settings["times_at_once"] = 1  # the memory of a single one
    for name in ("n_times", "n_samples", "batch", "pool", "pairs"):
        count(name, settings[name])
    for name in ("times_at_once", "draws", "operators"):
        if settings[name] is not None:
            count(name, settings[name])
    if settings["pool_noise"] is not None:
        _check_levels(settings["pool_noise"])
    if settings["pool_missing"] is not None:
        _check_shares(settings["pool_missing"], settings["pool"])
    for name in ("pool_noise", "pool_missing"):
        if settings[name] is not None and (settings["prior_term"] != "modes" or settings["kl"] != "reverse"):
            raise ValueError(
                f'{name} is for prior_term "modes" and kl "reverse", whose measurements are a pool, got {name} = {settings[name]!r}, '
                f"prior_term {settings['prior_term']!r} and kl {settings['kl']!r}"
            )
    flag("mirror", settings["mirror"])
    number("tweedie_weight", settings["tweedie_weight"])
    if settings["tweedie_weight"] < 0 or (settings["tweedie_weight"] and settings["operators"] is None):
        raise ValueError(
            "tweedie_weight must be at least 0, and 0 without operators: it is for problems of denoising among those, got "
            f"{settings['tweedie_weight']!r}"
        )
    number("forward_share", settings["forward_share"])
    if not 0 < settings["forward_share"] < 1:
        raise ValueError(f"forward_share must lie in (0, 1), got {settings['forward_share']!r}")
    return settings


def _check_shares(shares, pool):
    """Raise TypeError or ValueError unless ``shares`` are shares of missing entries, no more of them than the ``pool`` has
    measurements.
    """
    if not isinstance(shares, (list, tuple)) or not shares:
        raise TypeError(f"pool_missing must be a list of shares of missing entries, got {shares!r:.80}")
    for share in shares:
        fraction("pool_missing", share)
    if len(shares) > pool:
        raise ValueError(f"pool_missing has {len(shares)} shares, expected at most the {pool} measurements of the pool")


def _check_levels(levels):
    """Raise TypeError or ValueError unless ``levels`` are two noise levels, the lower first."""
    if not isinstance(levels, (list, tuple)) or len(levels) != 2:
        raise TypeError(f"pool_noise must be two noise levels, [low, high], got {levels!r:.80}")
    for level in levels:
        noise("pool_noise", level)
    if not levels[0] < levels[1]:
        raise ValueError(f"pool_noise must be [low, high] with low < high, got {levels!r}")


def train_posterior(task, recipe, *, measurements=None, measurement=None, start=None, evaluate=None, **session):
    """Train q(x | y) for ``task``: (AmortizedPosterior, Trained).

    recipe: a dict or the path of a TOML file with tables [flow] (kind = "gaussian-base" or "realnvp" and its settings),
    [objective] and [optimizer] (steps, learning_rate, ...; see ``optimizer.Optimizer``). Of the objective:

    - kl: "reverse" is APS (Eq. 11); "forward" fits draws of the prior and their simulated measurements, without score,
      likelihood or data; "mixture" adds both, ``forward_share`` of the second.
    - prior_term, times: what stands for the prior, see ``priors.terms``; n_times diffusion times for each of n_samples
      samples of each of ``batch`` measurements, ``times_at_once`` of them side by side: fewer need less memory, and
      "path" with a control variate takes one by default, everything else all.
    - estimator: of the gradient of log q, "path" or "total", see ``objective``. Where the prior term has a
      control variate the default is "path" with 4 times, else "total" with one.
    - protocol: the measurements are those of ``task.signals("train")`` ("held-out") or ("test") ("paper"). With noise
      "fixed" they are made once, one of each signal, as somebody has them who has recorded measurements; "fresh" draws
      new noise (and masks) at every step, which needs the signals. With prior_term "modes" (a GaussianBaseFlow under a
      ScorePrior) they are a pool of ``pool`` measurements, whose contexts are computed once; ``pool_missing`` lists the
      fractions of missing entries that share the pool, and ``pool_noise`` = [low, high] draws a noise level for each.
      The reverse loss never sees the signals.
    - draws: number of draws of the prior that are made once for the forward loss (``fast_sampling.pool``), instead of
      new ones at each step; ``mirror`` reflects each left to right at random, for a prior that is the same after it.
    - operators: number of linear problems of the family for images (``operator_family``) that a flow of kind "universal" is
      trained on by the forward divergence, each with ``pairs`` draws and measurements of them; they are factorized
      once (``operator_pool``). The task's own operator is then only a first one. ``tweedie_weight`` times the mean square
      by which the flow's mean lies from Tweedie's estimate, for those that are denoising, is added to the loss.

    measurements: a batched Measurement that somebody has recorded, instead of those of the protocol: nothing clean is
    used, and ``task.signals`` may be None. measurement: a single Measurement makes it the posterior of that one alone,
    as in DPI and the score prior of Feng et al. (2023). start: an AmortizedPosterior with a flow of the same shapes
    whose weights are where training starts. ``evaluate(posterior, key) -> dict`` is logged along the way; session:
    ``evaluate_every``, ``folder``, ``budget`` and ``progress`` of ``job.run``. Raises TypeError or ValueError for
    settings and measurements that do not fit (see ``recorded.checked``).
    """
    recipe = checked(recipe, POSTERIOR)
    job = posterior_job(task, recipe, measurements, measurement, start, evaluate)
    return run(job, recipe, **session)[:2]


def posterior_job(task, recipe, measurements=None, measurement=None, start=None, evaluate=None):
    """The Job of ``train_posterior``."""
    settings, seed = objective_settings(recipe), Optimizer.of(recipe["optimizer"]).seed
    _check_fits(task, settings, measurement)
    flow = build_flow(task, recipe["flow"])
    pool = _family(task, flow, settings)
    data = {"flow": flow, "prior": task.prior, **_measured(task, flow, settings, seed, measurements, measurement)}
    return Job(
        _loss(task, settings, data)
        if pool is None
        else partial(pool_loss, pool, settings["batch"], settings["tweedie_weight"]),
        initial(flow, seed, start),
        data,
        evaluate and (lambda params, _, key: evaluate(AmortizedPosterior(task, flow, params), key)),
        lambda params, card: AmortizedPosterior(task, flow, params, card),
        tree=lambda posterior: posterior.params,
        facts=_facts(task, flow, recipe, measurements is None and settings["pool_missing"], start, pool),
        inputs=inputs_of(task, start, measurements if measurement is None else measurement, data),
    )


def _check_fits(task, settings, measurement):
    """Raise ValueError for settings that the task or a single measurement cannot have."""
    if settings["prior_term"] == "modes" and (settings["kl"] != "reverse" or measurement is not None):
        of = f"kl = {settings['kl']!r}" if measurement is None else "a single measurement"
        raise ValueError(f'prior_term "modes" is for kl = "reverse" and many measurements, got {of}')
    if settings["mirror"] and len(task.shape) != 3:
        raise ValueError(f"mirror is for images (h, w, c), got signals of shape {task.shape}")


def _facts(task, flow, recipe, missing, start, pool):
    """What the card says of the task, of the family of operators, and of where training began. missing: the shares of the
    pool that was made, which measurements that were recorded do not have.
    """
    facts = {"task": task.name, "flow": recipe["flow"], "made_for": made_for(task), **begun_by(start)}
    if flow.serves_any_operator:
        facts["any_operator"] = True
    elif flow.serves_any_mask and missing:
        facts["any_mask"] = True
    return facts if pool is None else {**facts, "family": pool.ranges()}


def posterior_from_recipe(recipe, measurements=None):
    """The Job of a recipe with a [task]; measurements: path of recorded ones (see ``recorded.load_measurements``).

    On recorded measurements nothing is validated, since nothing clean is known.
    """
    task, start = task_and_start(recipe)
    objective = recipe.get("validate_objective", True)
    flag("validate_objective", objective)
    if measurements is None:
        evaluate = validation(task, objective=objective)
        return posterior_job(task, recipe, start=start, evaluate=evaluate)
    task = replace(task, signals=None)
    return posterior_job(task, recipe, recorded.load_measurements(measurements, task), start=start)


def task_and_start(recipe):
    """The Task that a recipe's [task] names, and the posterior whose weights its ``start`` names, or None."""
    given = recipe.get("task", {})
    if "name" not in given:
        raise ValueError(f"recipe {recipe['name']!r}: [task] has no name")
    known("[task]", given, ("name", "parameters"))
    parameters = given.get("parameters", {})
    if not isinstance(parameters, dict):
        raise TypeError(f"recipe {recipe['name']!r}: [task] parameters must be a table, got {parameters!r:.80}")
    task = load_task(given["name"], **parameters)
    if "start_task" in recipe and "start" not in recipe:
        raise ValueError(
            f"start_task = {recipe['start_task']!r} is the task of start, and there is no start: expected both"
        )
    of = load_task(recipe["start_task"]) if "start_task" in recipe else task
    return task, load_start(of, recipe["start"]) if "start" in recipe else None


def begun_by(start):
    """What a card says of the posterior that a training went on from: what had trained it."""
    return {} if start is None or start.trained_by == "nothing" else {"start_trained_by": start.trained_by}


READ = ("measurements", "signals", "pool")  # what a loss reads of a task's signals


def inputs_of(task, start=None, measurements=None, arrays=None):
    """What a training of ``task`` depends on beside its recipe, for the fingerprint of its checkpoints; arrays: what its
    loss reads, of which READ are looked at.
    """
    described = {"task": task.name, "sigma_y": float(task.sigma_y), "made_for": rounded(made_for(task))}
    described["read"] = {name: digest((arrays or {})[name]) for name in READ if name in (arrays or {})}
    if start is not None:
        described["start"] = start.card.get("sha256") or digest(start.params)
    if measurements is not None:
        content = b"".join(np.ascontiguousarray(a).tobytes() for a in jax.tree.leaves(measurements))
        described["measurements"] = sha256_of(content)
    return described


def _measured(task, flow, settings, seed, measurements, measurement):
    """What the reverse loss is trained on, by name: see ``_reverse_loss`` and ``_modal_loss``."""
    if measurement is not None and measurements is not None:
        raise ValueError("give measurements (a batch) or measurement (a single one), not both")
    if measurement is not None:
        task.check(measurement)
        if np.shape(measurement.y) != task.y_shape:
            raise ValueError(
                f"measurement must be a single one, y of shape {task.y_shape}, got {np.shape(measurement.y)}; "
                "a batch is measurements="
            )
        return {"measurement": jax.tree.map(lambda a: jnp.asarray(a)[None], measurement)}
    modal, split = settings["prior_term"] == "modes" and settings["kl"] == "reverse", PROTOCOLS[settings["protocol"]]
    if measurements is not None:
        if settings["kl"] == "forward":
            raise ValueError(
                'measurements need kl "reverse" or "mixture", got "forward", which uses draws of the prior'
            )
        measurements = recorded.checked(task, measurements, settings["batch"])
        return {"pool": contexts_of(task, flow, measurements)} if modal else {"measurements": measurements}
    if settings["kl"] == "forward":
        return {}
    if modal:
        return {"pool": context_pool(task, flow, jnp.asarray(task.signals(split)), settings, jax.random.key(seed + 1))}
    if settings["noise"] == "fresh":
        return {"signals": jnp.asarray(task.signals(split))}
    return {"measurements": recorded.measured_once(task, split)}


def initial(flow, seed, start=None):
    """Initial parameters: those of ``start`` where given. Raises TypeError for what is no posterior, ValueError when its
    flow is another one.
    """
    if start is None:
        return jax.jit(flow.init)(jax.random.key(seed))
    if not isinstance(start, AmortizedPosterior):
        raise TypeError(f"start must be an AmortizedPosterior (see aps_core.load_posterior), got {start!r:.80}")
    shapes = [
        jax.tree.map(jnp.shape, params) for params in (start.params, jax.eval_shape(flow.init, jax.random.key(seed)))
    ]
    if shapes[0] != shapes[1]:
        raise ValueError("start has a flow of other shapes than the recipe's [flow]")
    return start.params


def _loss(task, settings, arrays):
    """The loss per entry of the signal that ``settings`` describe, for ``loop.fit``."""
    if settings["kl"] != "reverse" and "measurement" in arrays:
        raise ValueError(
            f'a single measurement needs kl "reverse", got {settings["kl"]!r}: draws of the prior have other measurements'
        )
    if settings["prior_term"] == "control-variate" and not task.prior.has_log_ratio:
        raise ValueError(
            f'prior_term "control-variate" needs a prior beyond the Gaussian, got {type(task.prior).__name__}'
        )
    if "pool" in arrays:
        return partial(modal_loss, settings)
    reverse = partial(_reverse_loss, task, _divergence(settings, "measurement" in arrays), settings["batch"])
    if settings["kl"] == "reverse":
        return reverse
    if settings["draws"] is not None:
        arrays["draws"] = fast_sampling.pool(task.prior, settings["draws"])
    elif not task.prior.can_be_sampled:
        raise ValueError(f'kl "{settings["kl"]}" needs a prior that can be sampled, {type(task.prior).__name__} cannot')
    forward = partial(_forward_loss, task, settings)
    return forward if settings["kl"] == "forward" else partial(_mixture, settings["forward_share"], reverse, forward)


def _family(task, flow, settings):
    """The OperatorPool that ``operators`` asks for, or None. Raises ValueError where flow or settings do not fit it."""
    if settings["operators"] is None:
        return None
    if not flow.serves_any_operator or settings["kl"] != "forward" or settings["draws"] is None:
        raise ValueError(
            'operators need a flow of kind "universal", kl = "forward" and a number of draws, got '
            f"{type(flow).__name__}, kl = {settings['kl']!r} and draws = {settings['draws']!r}"
        )
    if settings["batch"] % GROUPS:
        raise ValueError(f"batch must be a multiple of {GROUPS}, the operators of a step, got {settings['batch']!r}")
    draws = fast_sampling.pool(task.prior, settings["draws"])
    return make_pool(task, settings["operators"], settings["pairs"], draws, settings["mirror"])


def _divergence(settings, single):
    """The ReverseDivergence of an [objective]; the batch of a single measurement are samples of it."""
    names = ("prior_term", "n_times", "times", "times_at_once", "estimator")
    n_samples = settings["n_samples"] * (settings["batch"] if single else 1)
    return ReverseDivergence(n_samples=n_samples, **{name: settings[name] for name in names})


def _mixture(share, reverse, forward, params, arrays, key, progress):
    k_reverse, k_forward = jax.random.split(key)
    value, parts = reverse(params, arrays, k_reverse, progress)
    other, more = forward(params, arrays, k_forward, progress)
    return (1 - share) * value + share * other, {**parts, **more}


def _reverse_loss(task, divergence, batch, params, arrays, key, progress):
    k_pick, k_measure, k_loss = jax.random.split(key, 3)
    if "measurement" in arrays:
        measurements = arrays["measurement"]
    elif "measurements" in arrays:
        picked = jax.random.randint(k_pick, (batch,), 0, len(arrays["measurements"].y))
        measurements = jax.tree.map(lambda a: a[picked], arrays["measurements"])
    else:
        picked = jax.random.randint(k_pick, (batch,), 0, len(arrays["signals"]))
        measurements = task.measure(k_measure, arrays["signals"][picked])
    target, flow = Target(task.operator, task.sigma_y, arrays["prior"]), arrays["flow"]
    value, parts = divergence(flow, params, target, k_loss, measurements, progress)
    return value / flow.dim, parts


def _forward_loss(task, settings, params, arrays, key, progress):
    del progress
    k_draw, k_measure = jax.random.split(key)
    x0 = _drawn(settings, arrays, k_draw)
    value, parts = forward_objective(arrays["flow"], params, task.measure(k_measure, x0), x0)
    return value / arrays["flow"].dim, parts


def _drawn(settings, arrays, key):
    """``batch`` draws of the prior: new ones, or from the pool, then reflected at random with ``mirror``."""
    if "draws" not in arrays:
        return arrays["prior"].sample(key, settings["batch"])
    k_pick, k_flip = jax.random.split(key)
    x0 = arrays["draws"][jax.random.randint(k_pick, (settings["batch"],), 0, len(arrays["draws"]))]
    if not settings["mirror"]:
        return x0
    return jnp.where(jax.random.bernoulli(k_flip, shape=(len(x0), 1, 1, 1)), x0[:, :, ::-1], x0)


POSTERIOR = Trainer(posterior_from_recipe, ("task", "flow", "objective"), ("start", "start_task", "validate_objective"))
