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
# # The method: APS Section 4
#
# What amortized posterior sampling (APS) {cite:p}`mammadov2024aps` minimizes, term by term, with the function that
# computes each term; what the densities are, exactly; where the paper's formulas have slips; and what each part is
# worth, on posteriors known in closed form.

# %% tags=["parameters"]
steps = 150  # of training, each row
left_out = None  # a list of rows of the ablation that are not trained in this run
cost_width = 128  # of the networks in the flow that is timed
cost_repeats = 3  # of each timing; the least counts; 0 leaves it to the full run
seed = 0

# %% tags=["hide-input"]
from aps_book import record
from aps_book.experiments import method
from aps_book.record.run import integer, list_of, one_of, optional

run = record.start(
    "method",
    globals(),
    {
        "steps": integer(24),
        "left_out": optional(list_of(one_of(*method.dispensable()))),
        "cost_width": integer(1),
        "cost_repeats": integer(0),
        "seed": record.seed(),
    },
)

# %% [markdown]
# ## The objective
#
# A signal $x_0$ with entries in $[0, 1]$ is measured as $y = A(x_0) + \sigma_y n$ with standard normal noise $n$
# ({py:func}`~aps_core.operators.measurement.simulate`). A conditional normalizing flow $x_0 = G_\phi(z, y)$ with $z
# \sim \mathcal N(0, I)$ has the exact density $q_\phi(x_0 \mid y) = \mathcal N(z; 0, I)\, |\det \partial G_\phi /
# \partial z|^{-1}$. It is trained to have the least divergence from the posterior, on average over measurements:
#
# $$
# \begin{aligned} &\mathrm{KL}\big(q_\phi(x_0 \mid y)\,\|\,p(x_0 \mid y)\big) - \log p(y) \\ &\quad= \mathbb
# E_z\Big[\underbrace{-\log p(y \mid x_0)}_{\text{fidelity}} \;\underbrace{-\log p(x_0)}_{\text{prior}} \\ &\qquad
# \underbrace{+ \log \mathcal N(z; 0, I) - \log\Big|\det \frac{\partial G_\phi}{\partial z}\Big|}_{\log q_\phi(x_0 \mid
# y)}\Big]. \end{aligned}
# $$ (eq-method-objective)
#
# | term | formula | function |
# | --- | --- | --- |
# | all, averaged | {eq}`eq-method-objective` | {py:class}`~aps_core.training.objective.ReverseDivergence` |
# | fidelity | $\lVert y - A(x_0)\rVert^2 / 2\sigma_y^2$ | {py:class}`~aps_core.training.objective.ReverseDivergence` |
# | prior | the bound below, or one of its stand-ins | {py:class}`~aps_core.priors.terms.PriorTerm` |
# | entropy | flow and its log-determinant | {py:class}`~aps_core.flows.realnvp.ConditionalRealNVP` |
#
# The first averages over measurements, the fidelity is up to a constant and sums over the observed entries
# ({py:func}`~aps_core.operators.measurement.log_likelihood`); the entropy is given by `forward` of the flow, also of
# {py:class}`~aps_core.flows.modal.GaussianBaseFlow`.
#
# Nothing in it needs the signal behind a measurement. Trained with a single $y$ it is deep probabilistic imaging and
# the score prior of {cite:t}`feng2023principled`, by the same function with `measurement=`
# ({py:func}`~aps_core.training.posterior.train_posterior`). The other direction, $\mathbb E_{p(x_0, y)}[-\log
# q_\phi(x_0 \mid y)]$ over draws of the prior and their simulated measurements, needs neither score nor likelihood
# ({py:func}`~aps_core.training.objective.forward_objective`).
#
# ## The prior term
#
# The diffusion works on $u = 2 x_0 - 1$: $u_t = \alpha(t)\, u + \beta(t)\, \epsilon$
# ({py:class}`~aps_core.diffusion.VPSDE`), and the network predicts the noise, $s_\theta(u_t, t) =
# -\epsilon_\theta(u_t, t) / \beta(t)$. The log-density is bounded from below by {cite:p}`song2021likelihood`
#
# $$
# \begin{aligned} \log p_\theta(u) \ge\; & \underbrace{\mathbb E \log \mathcal N\big(u;\, \hat u(u_{t_{\min}}),\,
# v_{\min} I\big)}_{\text{start-time term}} \\ &- \underbrace{\mathrm{KL}\big(q(u_1 \mid u)\,\|\,\mathcal N(0,
# I)\big)}_{\text{prior KL}} \\ &- \underbrace{\tfrac12 \int_{t_{\min}}^1 \tfrac{g^2}{\beta^2}\, \mathbb E\,\lVert
# \epsilon - \epsilon_\theta(u_t, t)\rVert^2\, dt}_{\text{diffusion loss}}, \end{aligned}
# $$ (eq-method-elbo)
#
# where $\hat u$ is Tweedie's estimate and $v_{\min} = (\beta/\alpha)^2$ at $t_{\min}$.
#
# | term | function |
# | --- | --- |
# | one-sample estimate of the whole bound at one time | {py:func}`~aps_core.priors.bound.elbo_at` |
# | prior KL | {py:func}`~aps_core.priors.bound.prior_kl` |
# | times of density proportional to $g^2/\beta^2$ | `likelihood_weighted_time` of {py:mod}`~aps_core.diffusion` |
# | one time in each of $n$ equal cells | {py:func}`~aps_core.diffusion.low_discrepancy` |
# | difference of two bounds with the same noise (control variate) | {py:func}`~aps_core.priors.bound.log_ratio_at` |
# | log-density by the probability-flow ODE | {py:func}`~aps_core.priors.ode.log_prob_ode` |
#
# With a Gaussian $p_G$ near the prior, only the difference is estimated. For $r = \epsilon_\theta - \epsilon_G$ and the
# same $\epsilon$ in both bounds,
#
# $$
# \begin{aligned}
# \log p_\theta(x_0) \approx\; & \log p_G(x_0) \\
# &- \tfrac12 \int \tfrac{g^2}{\beta^2}\, \mathbb E\big[r \cdot \big(2(\epsilon_G - \epsilon) + r\big)\big]\, dt,
# \end{aligned}
# $$ (eq-method-control)
#
# in which all that is Gaussian has cancelled, and its noise with it.
#
# ## What the densities are
#
# - The bound {eq}`eq-method-elbo` is on the density of the reverse *SDE* started from $\mathcal N(0, I)$ at $t = 1$,
#   stopped at $t_{\min}$, and followed by one Gaussian step of variance $v_{\min}$ around Tweedie's estimate.
# - The probability-flow *ODE* has another density at $t_{\min}$. The two are the same only where $\epsilon_\theta$ is
#   the exact score of one diffusion. Both are densities of $u$ and become those of $x_0$ by adding $d \log 2$.
# - A density needs a direction to vary in. Entries that are constant over all signals, or that were added to pad an
#   array to a round size, are left out of $d$, not filled with zeros (see the page on the sphere).
# - $q_\phi$ is exact: the flows have no batch statistics, and `log_prob` is what the sampler draws from.
# - Eight-bit data are integers. Where a network is trained on them, uniform noise one grey level wide is added to the
#   signals, so that they have a density at all. Nothing is clipped to $[0, 1]$.
#
# ## Slips in the paper
#
# What is printed, and what the code computes instead:
#
# - Eq. 12, the fidelity: $-\mathbb E_z \log p(y \mid x_0) = -\mathbb E_z \lVert y - A(x_0)\rVert^2 / 2 \sigma_y^2$. The
#   right side must be positive, and a constant is missing: $+\mathbb E_z \lVert y - A(x_0)\rVert^2 / 2 \sigma_y^2 +
#   \tfrac n2 \log 2\pi\sigma_y^2$ for $n$ observed entries.
# - Eq. 16, the divergence of the drift $f(x, t) = f(t)\, x$: $\tfrac{2}{g^2} \nabla \cdot f = 2 d\, \beta(t) / g^2$. It
#   is $2 d\, f(t) / g^2$, which is $-d$ for a variance-preserving diffusion; $\beta$ is the noise level there.
# - Eqs. 14 and 17, the lower end of the integral: $t = 0$, where the integrand diverges. It is $t_{\min} > 0$, and the
#   start-time term of {eq}`eq-method-elbo` takes the place of what is cut off.
# - Sec. 4.2, the coupling layer: "$x_a$ stays unchanged, $x_b$ is fed into the network". The network must see the half
#   that stays unchanged, $x_b \mapsto x_b\, e^{s(x_a, y)} + t(x_a, y)$; else the layer has no inverse in closed form
#   ({py:class}`~aps_core.flows.coupling.FlowStep`).

# %% [markdown]
# ## What each part is worth
#
# Each row below is the same short training with one part changed. Two problems, both denoising with $\sigma_y = 0.1$,
# both with an exact score, so that the only errors are those of the objective and of the flow
# ({py:func}`~aps_book.experiments.method.problem`):
#
# - *Gaussian*: 32 entries whose prior variances fall from $10^{-1}$ to $10^{-5}$; the structured flow starts from a
#   base with twice the posterior covariance and a mean that is off by one standard deviation.
# - *Mixture*: three Gaussians in four dimensions; the posterior of a measurement has more than one component. The
#   structured flow starts as the posterior under the Gaussian that has the mixture's mean and covariance.
#
# KL is that of the flow from the true posterior, in nats per dimension, on 64 measurements that training does not see.
# Times leave out compilation; the build compiles at XLA's optimization level 1, the full run at the default one.

# %% tags=["hide-input"]
import jax

from aps_book.experiments import training_cost
from aps_book.figures import curves as curves_figures
from aps_book.figures import told

variants = method.variants()
found = {name: method.run(variant, steps, seed) for name, variant in variants.items() if name not in (left_out or [])}
without = run.shown_by("start")["parameters"]["left_out"]
fewer = f" Rows of the table without a curve were not trained in this run ({', '.join(without)})." if without else ""
for name, result in found.items():
    run.number(f"run.{name}.start", result["kl"][0], result["se"][0], n=method.N_MEASUREMENTS)
    run.number(f"run.{name}.kl", result["kl"][-1], result["se"][-1], n=method.N_MEASUREMENTS)
    run.number(f"run.{name}.seconds", steps * result["seconds_per_step"], unit="s")


def curves(labels, by_time=False):
    scale = {name: found[name]["seconds_per_step"] if by_time else 1.0 for name in found}
    return {
        label: (scale[name] * found[name]["step"], found[name]["kl"], found[name]["se"])
        for name, label in labels.items()
        if name in found
    }


# %% [markdown]
# ### Where the bound starts
#
# Below $v_{\min}$ at $t_{\min}$ the bound sees nothing. Where its least value lies can be computed direction by
# direction ({py:func}`~aps_book.experiments.gaussian16.trap_ratio`); the column "formula" is the KL from there to the
# truth.

# %% tags=["hide-input"]
labels = {
    f"t{exponent}_{name}": f"t_min = 1e-{exponent}, {text}"
    for exponent in (2, 3, 4, 5)
    for name, text in (("start", "start-time term"), ("cut", "cut off"))
}
for name in labels:
    task = method.problem("gaussian", variants[name].t_min)
    run.number(f"run.{name}.formula", method.predicted_kl(task, name.endswith("start")))
columns = {"formula": ("formula", ".4f"), "kl": ("KL [nats/dim]", ".4f"), "seconds": ("time [s]", ".1f")}
caption = f"Gaussian problem, {run.stated('steps')} steps from a wrong base"
run.table(labels, columns, "run", caption=caption, signals=method.N_MEASUREMENTS)

# %% tags=["hide-input"]
short = {name: label.removeprefix("t_min = ") for name, label in labels.items()}
run.chart(
    curves_figures.kl_curves,
    "start",
    {"curves": curves(short)},
    alt="Divergence against training step, a curve for each run.",
    caption="Gaussian problem: KL over training by the start time $t_{\\min}$, with the start-time term and cut off "
    f"without it. Bands are one standard error.{fewer}",
    label="fig-method-start",
    told=told.curves,
)

# %% [markdown]
# ### Which times, and which gradient
#
# *Noise* is the standard deviation that times and noise put on the gradient of the prior term, over the size of the
# gradient itself ({py:func}`~aps_book.experiments.method.gradient_noise`): at 1 the estimate is as noisy as the
# samples of the flow are anyway. Low-discrepancy and independent times have density proportional to $g^2/\beta^2$,
# uniform ones are weighted with it. "Jacobian dropped" keeps the bound's value but holds Tweedie's estimate fixed
# when it is differentiated, as score distillation does. "Score alone, annealed" pulls with the score at one time,
# which falls from 1 to $t_{\min}$ over the training.

# %% tags=["hide-input"]
gaussian = method.problem("gaussian")
labels = {
    "t5_start": "low-discrepancy times",
    "importance": "independent times",
    "uniform": "uniform times",
    "exact": "exact gradient",
    "dropped": "Jacobian dropped",
    "annealed": "score alone, annealed",
}
for name in ("t5_start", "importance", "uniform"):
    run.number(f"run.{name}.noise", method.gradient_noise(gaussian, variants[name].objective, jax.random.key(seed)))
columns = {"noise": ("noise", ".1f"), "kl": ("KL [nats/dim]", ".4f"), "seconds": ("time [s]", ".1f")}
caption = "Gaussian problem, t_min = 1e-5 with the start-time term"
run.table(labels, columns, "run", caption=caption, signals=method.N_MEASUREMENTS)

# %% tags=["hide-input"]
run.chart(
    curves_figures.kl_curves,
    "times",
    {"curves": curves(labels)},
    alt="Divergence against training step, a curve for each run.",
    caption="Gaussian problem: KL over training by the way the times are drawn and by what of the gradient is kept."
    f"{fewer}",
    label="fig-method-times",
    told=told.curves,
)

# %% [markdown]
# ### Control variate, base, and direction of the KL
#
# The mixture problem. Its flow must bend the base; how far it gets in a given number of steps is a matter of the flow
# too.

# %% tags=["hide-input"]
mixture = method.problem("mixture")
labels = {
    "mixture": "reverse KL (APS)",
    "no_control_variate": "no control variate",
    "plain": "standard-normal base",
    "forward": "forward KL",
    "both": "half reverse, half forward",
    "warm": "forward, then reverse",
}
for name in ("mixture", "no_control_variate"):
    run.number(f"run.{name}.noise", method.gradient_noise(mixture, variants[name].objective, jax.random.key(seed)))
columns = {"noise": ("noise", ".1f"), "kl": ("KL [nats/dim]", ".4f"), "seconds": ("time [s]", ".1f")}
caption = "Mixture problem; Gaussian base and control variate unless the row says otherwise"
run.table(labels, columns, "run", caption=caption, signals=method.N_MEASUREMENTS)

# %% tags=["hide-input"]
run.chart(
    curves_figures.kl_curves,
    "mixture",
    {"curves": curves(labels)},
    alt="Divergence against training step for each run on the mixture.",
    caption=f"Mixture problem: KL over training steps.{fewer}",
    label="fig-method-mixture",
    told=told.curves,
)

# %% tags=["hide-input"]
run.chart(
    curves_figures.kl_curves,
    "seconds",
    {"curves": curves(labels, by_time=True), "xlabel": "training time (s)"},
    alt="The same curves against seconds of training.",
    caption="The same runs against seconds of training on the machine of the run, compilation and evaluation left out.",
    label="fig-method-seconds",
    told=told.curves,
)

# %% tags=["hide-input"]
run.say(
    "In the full run the Gaussian problem ends at {full/run.t5_start.kl:.4f} nats per dimension with "
    "$t_{{\\min}} = 10^{{-5}}$ and its start-time term. Cut off at $10^{{-2}}$ it ends at {full/run.t2_cut.kl:.2f} "
    "(formula {full/run.t2_cut.formula:.2f}), with the term at {full/run.t2_start.kl:.3f} (formula "
    "{full/run.t2_start.formula:.3f}). Uniform times make the gradient {full/run.uniform.noise:.0f} times as noisy as "
    "it is large, independent ones {full/run.importance.noise:.1f} times, low-discrepancy ones "
    "{full/run.t5_start.noise:.1f} times. Without the Jacobian the flow ends at {full/run.dropped.kl:.2f}: each "
    "direction then feels the prior about $\\log(1 + \\lambda/v_{{\\min}})$ times too strongly, and a smaller "
    "$t_{{\\min}}$ makes it worse. The annealed score alone ends at {full/run.annealed.kl:.4f}.\n\n"
    "In the mixture the control variate takes the noise from {full/run.no_control_variate.noise:.1f} to "
    "{full/run.mixture.noise:.1f}. The Gaussian base starts at {full/run.mixture.start:.2f} and the standard normal at "
    "{full/run.plain.start:.2f}; at the end of the full run they are at {full/run.mixture.kl:.3f} and "
    "{full/run.plain.kl:.3f}, the forward KL at {full/run.forward.kl:.3f}, both divergences together at "
    "{full/run.both.kl:.3f} and the warm start at {full/run.warm.kl:.3f}: the Gaussian base is a head start, and "
    "couplings of this size do not hold the bends of the mixture better for it."
)

# %% [markdown]
# ## What amortization costs
#
# The paper compares a training step of the conditional flow with one of an unconditional flow, which serves a single
# measurement. Here: the paper's RealNVP for 32 × 32 colour images, a score network for such images as its prior,
# everything of the step included ({py:func}`~aps_book.experiments.training_cost.step_costs`). Only the time matters
# here, so that neither network is trained. In the conditional flow, $y$ is an input of every coupling network, and
# several samples of one measurement share its first product.

# %% tags=["hide-input"]
costs = training_cost.step_costs(cost_width, cost_repeats) if cost_repeats else {}
for name, seconds in costs.items():
    run.number(f"cost.{name}.seconds", seconds, unit="s")
    run.number(f"cost.{name}.ratio", seconds / costs["unconditional"])
columns = {"seconds": ("one step [s]", ".2f"), "ratio": ("over unconditional", ".2f")}
rows = {
    "unconditional": "one measurement (DPI), 64 samples",
    "conditional_4": "amortized, 16 measurements, 4 samples each",
    "conditional": "amortized, 64 measurements, 1 sample each",
}
if costs or record.full_run("method") is not None:
    run.table(
        rows,
        columns,
        "cost",
        paper="aps.section5_2_3.step",
        caption=f"Seconds of one training step; width {run.stated('cost_width')}",
    )

# %% tags=["hide-input"]
run.say(
    "At full width a step costs {full/cost.conditional.ratio:.2f} times the unconditional one where each "
    "measurement has one sample, and "
    "{full/cost.conditional_4.ratio:.2f} times where each has four. What it costs more are the weights that see "
    "$y$: their products and their "
    "update. Both kinds of step pay for the score network alike, so that a larger one brings the ratio nearer to one."
)

# %% [markdown]
# ## What it does not show
#
# - Both problems have an exact score. A learned one has errors of its own, most of all at the small times that the
#   start-time term reads; see the page on the sphere for a learned prior.
# - The runs are short and small, and the learning rate is the same in all of them. A row that is behind here may catch
#   up.
# - Times are those of one machine with two cores. On a graphics processor a score network costs relatively less, the
#   flow more.

# %% tags=["hide-input"]
run.finish()
