# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A prior of your own
#
# The operator says how data come about, the prior what signals are like. Two priors of your own take a few lines each:
# a Gaussian that is fitted to your signals, for which everything is in closed form, and a score function, that of a
# diffusion model you have trained elsewhere or a formula. The example is small enough that the density can be drawn.

# %% tags=["parameters"]
sigma_y = 0.05  # standard deviation of the noise
n_signals = 512  # signals that the Gaussian is fitted to
n_test = 32  # signals that are measured and scored
n_samples = 128  # posterior samples of each
steps = 1000  # of training
sampler_steps = 60  # evaluations of the score for a sample of PiGDM
seed = 0

# %% tags=["hide-input"]
from aps_book import record
from aps_book.figures import densities

run = record.start(
    "own_prior",
    globals(),
    {
        "sigma_y": record.between(0, 1, open=True),
        "n_signals": record.integer(8, 65536),
        "n_test": record.integer(2, 4096),
        "n_samples": record.integer(3, 4096),
        "steps": record.integer(2),
        "sampler_steps": record.integer(2),
        "seed": record.seed(),
    },
)

# %% [markdown]
# ## A Gaussian from data
#
# `fit_gaussian` takes an array of signals (n, *shape) and a number of modes. With it the posterior under any linear
# operator is known. The signals of this page have two entries, and come from a mixture of three Gaussians, which one
# Gaussian cannot say; the operator sees the first entry alone.

# %% tags=["show-code"]
import jax
import jax.numpy as jnp
import numpy as np

import aps_core
from aps_core.priors.gaussian import fit_gaussian

network = aps_core.load_task("mixture2").prior  # stands for yours
signals = np.asarray(network.sample(jax.random.key(seed), n_signals))  # (n_signals, 2)
gaussian = fit_gaussian(signals, n_modes=2, diagonal=1e-6)
operator = aps_core.FixedMask(np.array([1.0, 0.0]))
closed = aps_core.gaussian_posterior(aps_core.Task(operator, sigma_y, gaussian, signals, unit_range=False))

# %% [markdown]
# ## A prior from its score
#
# A diffusion prior is its score $\nabla \log p_t(u_t)$, of the signal scaled to $u = 2x - 1$, at every time of a
# diffusion $u_t = \alpha_t u + \beta_t \varepsilon$. Give the function and the diffusion; signals, where you have them,
# are what the closed form inside a flow is fitted to. A network that predicts the noise has the score
# $-\varepsilon / \beta_t$. {py:class}`~aps_core.priors.score_function.ScoreFunctionPrior` has the rest.

# %% tags=["show-code"]
sde = network.sde


def score_fn(u, t):
    """grad log p_t for one u of shape (2,): here a formula, with a network -eps(u, t) / sde.beta(t)."""
    return network.score(u, t)


prior = aps_core.ScoreFunctionPrior(score_fn, (2,), sde, gaussian=signals)
task = aps_core.Task(operator, sigma_y, prior, signals, unit_range=False)
draws = np.asarray(prior.sample(jax.random.key(seed + 1), 300))  # by its probability-flow ODE

# %% [markdown]
# ## Samplers, and a flow
#
# With the score alone, samplers such as PiGDM work at once, for as many evaluations as each sample takes. A flow is
# trained once. Its recipe needs what stands for $\log p$: `"elbo"` is the bound of the diffusion, which any score has.

# %% tags=["show-code"]
recipe = {
    "flow": {"kind": "gaussian-base", "k": 2, "steps": 6, "width": 48},
    "objective": {"prior_term": "elbo", "noise": "fresh", "batch": 64, "n_times": 4},
    "optimizer": {"steps": steps, "warmup": max(1, steps // 10), "learning_rate": 3e-3, "ema": 0.99},
}
flow, log = aps_core.train_posterior(task, recipe)
samplers = {"closed": closed, "pigdm": aps_core.make_sampler("pigdm", task, n_steps=sampler_steps), "flow": flow}

# %% tags=["hide-input"]
run.number("training.seconds", log.seconds, unit="s")
run.say(
    f"The flow was trained by: {flow.trained_by}, in {{training.seconds:.0f}} s "
    "(another notebook may have run beside it)."
)

# %% tags=["hide-input"]
one = task.measure(jax.random.key(seed + 2), jnp.array([0.4, 0.5]))
shown = {"draws of the prior": draws}
for name, sampler in samplers.items():
    title = {"closed": "closed form", "pigdm": "PiGDM", "flow": "flow"}[name]
    shown[title] = np.asarray(sampler.sample(jax.random.key(seed + 3), one, 300))
side = (np.arange(100) + 0.5) / 100
plane = jnp.stack(jnp.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
log_p = np.asarray(jax.vmap(network.log_prob)(plane)).reshape(100, 100)
run.figure(
    densities.density_panel(log_p, 0.0, 1.0, shown),
    "posterior",
    alt="The density of the prior with three humps, and over its contours: draws of the prior in all humps; samples of "
    "the closed form in one tall column at the measured first entry, also where the density is low; samples of PiGDM "
    "and of the flow in the parts of that column that lie on the humps.",
    caption="Density of the prior; its draws by the ODE; and posterior samples of one measurement that sees the first "
    "entry, by the closed form under the Gaussian, by PiGDM and by the flow.",
    label="fig-own-prior",
)

# %% [markdown]
# ## Is it right?
#
# On draws of the prior the truth is known. The 90 % intervals of the samples have to hold 90 % of the true entries;
# the energy score judges the whole distribution, and the smaller it is, the better.

# %% tags=["show-code"]
from aps_core.metrics.evaluation import evaluate

x0 = network.sample(jax.random.key(seed + 4), n_test)
measurements = task.measure(jax.random.key(seed + 5), x0)
scores = {
    name: evaluate(sampler, jax.random.key(seed + 6), measurements, x0, n_samples) for name, sampler in samplers.items()
}

# %% tags=["hide-input"]
for name, score in scores.items():
    run.mean(f"{name}.energy", score["energy"])
    run.mean(f"{name}.coverage_90", 100 * score["coverage"][:, 1], "%")
for name in ("closed", "pigdm"):
    run.mean(f"paired.{name}.energy", scores["flow"]["energy"] - scores[name]["energy"])
run.table(
    {"closed": "closed form", "pigdm": f"PiGDM, {sampler_steps} evaluations", "flow": f"flow ({flow.trained_by})"},
    {"energy": ("energy score", ".4f"), "coverage_90": ("90 % intervals hold [%]", ".1f")},
    caption=f"{n_test} draws of the prior.",
)
run.verdict(
    *(
        record.Difference(
            f"paired.{name}.energy", "the flow", label, better="lower", form="+.4f", measure="energy score"
        )
        for name, label in (("closed", "the closed form"), ("pigdm", "PiGDM"))
    ),
    before="Draw by draw:",
)

# %% [markdown]
# ## What next
#
# - **A network with parameters**: `ScoreFunctionPrior(score_fn, shape, sde, params=params)` calls
#   `score_fn(params, u, t)` and does not copy them into every compiled program.
# - **No signals**: `prior.with_fitted_gaussian(key)` fits the closed form to draws of the prior itself.
# - **Your own data and operator**: {doc}`own_data` and {doc}`own_operator`; all settings of a recipe:
#   {doc}`../settings`.

# %% tags=["hide-input"]
run.finish()
