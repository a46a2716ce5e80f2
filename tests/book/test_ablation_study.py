"""The measurements of the page on the method: known answers, and rows that differ in one part only."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book.experiments import method as ablation_study
from aps_book.experiments.mixture_posterior import mixture_posterior
from aps_core import Identity, Task, gaussian_posterior
from aps_core.priors.gaussian import GaussianPrior


def test_variants_differ_from_the_method_in_one_part():
    rows = ablation_study.variants()
    for name, variant in rows.items():
        method = rows["t5_start" if variant.problem == "gaussian" else "mixture"]
        changed = [f.name for f in dataclasses.fields(variant) if getattr(variant, f.name) != getattr(method, f.name)]
        assert len(changed) <= (2 if name.endswith("_cut") else 1), name
    assert {v.t_min for v in rows.values()} == {1e-2, 1e-3, 1e-4, 1e-5}
    with pytest.raises(ValueError, match='problem must be "gaussian" or "mixture", got \'moons\''):
        ablation_study.problem("moons")


@pytest.mark.parametrize("name", ["gaussian", "mixture"])
def test_the_truth_has_no_divergence(name):
    """Of draws of the true posterior, whose log density is known in another way: log p(x) + log p(y|x) - log p(y)."""
    task = ablation_study.problem(name)
    m = task.measure(jax.random.key(0), task.prior.sample(jax.random.key(1), 8))
    if name == "gaussian":
        assert ablation_study.kl_to_truth(gaussian_posterior(task), jax.random.key(2), m)[0] == pytest.approx(
            0.0, abs=1e-5
        )
        return

    class Truth:
        def __init__(self):
            self.task = task
            self.flow = type("Flow", (), {"dim": 4})

        def sample_and_log_prob(self, key, m, n):
            def one(k, y):
                x = mixture_posterior(task.prior, task.sigma_y, y, jnp.eye(4)).sample(k, n)
                noise = task.sigma_y**2 * jnp.eye(4)
                wide = [
                    v @ jnp.diag(e) @ v.T + noise
                    for v, e in zip(task.prior.eigenvectors, task.prior.eigenvalues, strict=True)
                ]
                away = [
                    jax.scipy.stats.multivariate_normal.logpdf(y, c, s)
                    for c, s in zip(task.prior.means, wide, strict=True)
                ]
                evidence = jax.nn.logsumexp(task.prior.log_weights + jnp.stack(away))
                fidelity = jax.scipy.stats.norm.logpdf(y, x, task.sigma_y).sum(-1)
                return x, jax.vmap(task.prior.log_prob)(x) + fidelity - evidence

            return jax.jit(jax.vmap(one))(jax.random.split(key, len(m.y)), m.y)

    kl, error = ablation_study.kl_to_truth(Truth(), jax.random.key(2), m)
    assert kl == pytest.approx(0.0, abs=1e-4) and error < 1e-4
    wrong = gaussian_posterior(task)
    # the Gaussian is not the mixture's posterior
    assert ablation_study.kl_to_truth(wrong, jax.random.key(2), m)[0] > 0.02


def test_the_predicted_divergence_is_that_of_gaussians_too_wide():
    """At t_min = 1e-2, from sampled log densities of the Gaussian that the bound leads to."""
    task = ablation_study.problem("gaussian", 1e-2)
    lam, v = np.asarray(task.prior.excess + task.prior.rest, np.float64), task.prior.sde.v_min / 4
    exact = 1 / (1 / lam + 1 / task.sigma_y**2)
    for term, precision in ((True, 1 / (lam + v) + v / (lam + v) ** 2), (False, 1 / (lam + v))):
        led_to = 1 / (precision + 1 / task.sigma_y**2)
        x = np.sqrt(led_to) * np.random.default_rng(0).normal(size=(20_000, len(lam)))
        sampled = np.mean(0.5 * (x**2 / exact - x**2 / led_to + np.log(exact / led_to)))
        assert ablation_study.predicted_kl(task, term) == pytest.approx(sampled, rel=0.02)
    assert ablation_study.predicted_kl(ablation_study.problem("gaussian", 1e-5)) < 1e-5


@pytest.mark.slow
def test_gradient_noise_of_a_known_estimate():
    """One standard Gaussian dimension, the exact term: no noise. The bound's noise by direct simulation of one draw at
    a time.
    """
    prior = GaussianPrior(jnp.full(1, 0.5), jnp.eye(1), jnp.full(1, 0.04), jnp.asarray(0.01), shape=(1,))
    task = Task(Identity((1,)), 0.1, prior, prior.sample(jax.random.key(0), 4))
    assert ablation_study.gradient_noise(
        task, {"prior_term": "exact"}, jax.random.key(1), n=16, draws=32
    ) == pytest.approx(0, abs=1e-6)
    found = ablation_study.gradient_noise(task, {"times": "importance"}, jax.random.key(1), n=2048, draws=512)
    rng, sde, lam = np.random.default_rng(0), prior.sde, 4 * 0.05
    x = 2 * np.sqrt(0.05) * rng.normal(size=100_000)  # u
    t = np.asarray(sde.likelihood_weighted_time(jnp.asarray(rng.random(x.size), jnp.float32)), np.float64)

    def pull(u, t, eps):
        a, b = np.asarray(sde.alpha(t), np.float64), np.asarray(sde.beta(t), np.float64)
        v = a**2 * lam + b**2
        return -(b * (a * u + b * eps) / v - eps) * a * b / v

    z = float(sde.log_snr_span())
    g = z * pull(x, t, rng.normal(size=x.size)) + pull(x, np.full(x.size, sde.t_min), rng.normal(size=x.size))
    # what is left of the variance of x itself is the same over all keys and does not count
    noise = g - (-x / lam)
    assert found == pytest.approx(np.sqrt(noise.var() / np.mean((x / lam) ** 2)), rel=0.08)


@pytest.mark.long
def test_a_run_with_a_warm_start_counts_on_and_ends_nearer_than_it_began():
    found = ablation_study.run(ablation_study.variants()["warm"], steps=80, evaluations=4)
    assert found["step"].tolist() == [0, 20, 40, 60, 80]
    assert found["kl"][-1] < 0.8 * found["kl"][0] and found["seconds_per_step"] > 0
