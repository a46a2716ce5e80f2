"""Tests of the joint distribution against truth: TARP and the classifier on Gaussians, and the coordinates of pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2, kstest, norm

from aps_book.experiments.pair_coordinates import GROUPS, band_edges, pair_coordinates
from aps_core import AveragePool, Identity, RandomMask, Task, gaussian_posterior
from aps_core.metrics import joint
from aps_core.priors.gaussian import GaussianPrior


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def apart(found):
    """Standard errors between the accuracy and one half; of an accuracy of one hundred percent there is none."""
    return (found.accuracy - 0.5) / max(found.se, 1e-9)


# the classifier


@pytest.mark.slow
def test_nothing_is_found_where_there_is_nothing():
    """Accuracy scatters about one half as its standard error says, so that three of them are an alarm."""
    z = []
    for i in range(30):
        y = normal(120, 6, seed=i)
        truths, samples = (np.concatenate([y, normal(120, 6, seed=1000 * j + i)], axis=1) for j in (1, 2))
        z.append(apart(joint.c2st(truths, samples, seed=i)))
    assert abs(np.mean(z)) < 0.6 and 0.6 < np.sqrt(np.mean(np.square(z))) < 1.35


def test_accuracy_is_nearly_that_of_bayes():
    """No classifier is better than the ratio of the densities; this one is at most three points worse on 1000 pairs."""
    p, n, shift, scale = 8, 1000, 1.0, 0.7
    moved = joint.c2st(normal(n, p, seed=1), normal(n, p, seed=2) + shift * np.eye(p)[0])
    bayes = norm.cdf(shift / 2)
    assert bayes - 0.03 - 3 * moved.se < moved.accuracy < bayes + 3 * moved.se
    narrow = joint.c2st(normal(n, p, seed=1), scale * normal(n, p, seed=2))
    cut = 2 * p * np.log(1 / scale) / (1 / scale**2 - 1)
    bayes = (chi2.sf(cut, p) + chi2.cdf(cut / scale**2, p)) / 2
    assert bayes - 0.03 - 3 * narrow.se < narrow.accuracy < bayes + 3 * narrow.se


def test_a_shift_that_depends_on_the_data_is_seen():
    """The sign of the shift is that of y: on average there is none."""
    y = normal(1500, 1, seed=3)
    samples = np.concatenate([y, normal(1500, 1, seed=5) + 1.5 * np.sign(y)], axis=1)
    truths = np.concatenate([y, normal(1500, 1, seed=4)], axis=1)
    assert apart(joint.c2st(truths, samples)) > 5


def test_a_constant_feature_and_the_scale_of_features_do_not_matter():
    truths, samples = normal(200, 3, seed=6), normal(200, 3, seed=7) + 0.8
    plain = joint.c2st(truths, samples)
    scale = np.array([1e-3, 1.0, 1e3, 0.0])
    other = joint.c2st(*(5 + np.concatenate([a, a[:, :1]], axis=1) * scale for a in (truths, samples)))
    assert apart(plain) > 5 and apart(other) > 5


def test_pairs_that_are_the_same_cannot_be_told_apart():
    """Where all differences are zero, a constant feature leaves nothing to solve for."""
    x = np.append(normal(40, 2, seed=8), np.ones((40, 1)), axis=1)
    assert joint.c2st(x, x).accuracy == 0.5


@pytest.mark.parametrize(
    "change, said",
    [
        ({"samples": np.zeros((40, 3))}, r"\(n, p\)"),
        ({"truths": np.full((40, 2), np.nan)}, "not finite"),
        ({"truths": np.zeros((5, 2)), "samples": np.zeros((5, 2))}, "at least 20"),
        ({"truths": np.zeros((40, 0)), "samples": np.zeros((40, 0))}, "p at least 1"),
        ({"truths": np.full((40, 2), 1e30)}, "entries up to 1e.30, expected at most 1e.10"),
        ({"folds": 1}, "expected 2 to 40"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_classifier_refuses(change, said):
    with pytest.raises(ValueError, match=said):
        joint.c2st(**{"truths": np.zeros((40, 2)), "samples": np.zeros((40, 2)), **change})


# TARP


def balls(scale=1.0, shift=0.0, m=600, n=63, p=5, references=None):
    """Truths from N(y, I), samples from N(y + shift, scale^2 I), reference a draw of N(y, I)."""
    y = 3 * normal(m, p, seed=8)
    samples = y[:, None] + shift + scale * normal(m, n, p, seed=9)
    references = y + normal(m, p, seed=10) if references is None else references
    return joint.tarp(samples, y + normal(m, p, seed=11), references)


def test_exact_samples_pass_tarp():
    found = balls()
    assert found.band.inside and abs(found.area) < 3 * found.area_se
    assert np.all(np.abs(found.coverage - found.levels) < 3 * found.coverage_se)


def test_wrong_samples_fail_tarp():
    for scale, shift in ((0.7, 0.0), (1.4, 0.0), (1.0, 0.6)):
        assert not balls(scale, shift).band.inside, (scale, shift)
    assert balls(0.7).area < -3 * balls(0.7).area_se and balls(1.4).area > 3 * balls(1.4).area_se


def test_draws_of_the_prior_fail_by_a_reference_that_looks_at_the_data():
    """And pass by one that does not: why the reference has to."""
    y, m, n = 3 * normal(600, 2, seed=12), 600, 63
    truths = y + normal(m, 2, seed=13)
    prior = np.sqrt(10) * normal(m, n, 2, seed=14)
    assert joint.tarp(prior, truths, np.sqrt(10) * normal(m, 2, seed=15)).band.inside
    assert not joint.tarp(prior, truths, y + normal(m, 2, seed=16)).band.inside


def test_expected_coverage_is_the_analytic_one():
    """In one dimension, about the mean, with samples of standard deviation s: 2 Phi(s z) - 1, z the quantile of the level."""
    m, n, scale, level = 4000, 199, 0.7, 0.9
    found = joint.tarp(scale * normal(m, n, 1, seed=17), normal(m, 1, seed=18), np.zeros((m, 1)), (level,))
    expected = 2 * norm.cdf(scale * norm.ppf((1 + level) / 2)) - 1
    assert abs(found.coverage[0] - expected) < 4 * found.coverage_se[0]


def test_tarp_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"\(m, n, p\)"):
        joint.tarp(np.zeros((4, 3)), np.zeros((4, 3)), np.zeros((4, 3)))
    for n, p in ((0, 3), (5, 0)):
        with pytest.raises(ValueError, match="n and p at least 1"):
            joint.tarp(np.zeros((4, n, p)), np.zeros((4, p)), np.zeros((4, p)))
    with pytest.raises(ValueError, match="references has shape"):
        joint.tarp(np.zeros((4, 3, 2)), np.zeros((4, 2)), np.zeros((4, 3)))


# coordinates of pairs


def problem(operator, rest=1e-3):
    """64 entries, 16 modes, of which the first four are coarse."""
    basis = np.linalg.qr(normal(64, 16, seed=19))[0]
    excess = jnp.asarray(0.1 * 0.8 ** np.arange(16), jnp.float32)
    arrays = jnp.full(64, 0.5), jnp.asarray(basis, jnp.float32), excess, jnp.asarray(rest, jnp.float32)
    return Task(operator, 0.05, GaussianPrior(*arrays, shape=operator.shape), unit_range=False)


def told(task, change=lambda x, mean: x, m=400):
    """(Pairs, C2st of all features) of draws of the prior and one sample of the closed form each, changed."""
    closed = gaussian_posterior(task)
    x0 = task.prior.sample(jax.random.key(0), m)
    measured = task.measure(jax.random.key(1), x0)
    samples = closed.sample(jax.random.key(2), measured, 1)
    mean = closed.sample(jax.random.key(3), measured, 256).mean(axis=1, keepdims=True)
    pairs = pair_coordinates(closed, jnp.concatenate([x0[:, None], change(samples, mean)], axis=1), measured)
    features = np.asarray(pairs.features())
    return pairs, joint.c2st(features[:, 0], features[:, 1])


@pytest.mark.parametrize(
    "operator",
    [
        RandomMask((8, 8), 0.4),
        *(pytest.param(one, marks=pytest.mark.slow) for one in (Identity((8, 8)), AveragePool((8, 8), 2))),
    ],
)
def test_whitened_truths_are_standard_normal_and_the_closed_form_passes(operator):
    pairs, found = told(problem(operator))
    white = np.asarray(pairs.white)
    assert white.shape == (400, 2, 16)
    for j in (0, 15):
        assert kstest(white[:, 0, j], "norm").pvalue > 1e-3 and kstest(white[:, 1, j], "norm").pvalue > 1e-3
    assert abs(apart(found)) < 3
    assert np.array_equal(pairs.groups["data"][:, 0], pairs.groups["data"][:, 1])


@pytest.mark.parametrize("wrong", ["narrow", "moved", "grain", "smooth"])
def test_a_wrong_posterior_is_told_apart(wrong):
    """Each is seen: too narrow, moved by a third of its spread in all entries, with white grain of a tenth of its spread,
    and with the finest of its modes left out.
    """
    task = problem(Identity((8, 8)))
    grain = 0.02 * normal(400, 1, 8, 8, seed=20)
    basis = np.asarray(task.prior.basis)

    def smooth(x, mean):
        away = (x - mean).reshape((*x.shape[:2], -1))
        return mean + (away @ basis[:, :12] @ basis[:, :12].T).reshape(x.shape)

    changes = {
        "narrow": lambda x, mean: mean + 0.7 * (x - mean),
        "moved": lambda x, mean: x + 0.02,
        "grain": lambda x, mean: x + grain,
        "smooth": smooth,
    }
    assert apart(told(task, changes[wrong])[1]) > 4


def test_log_likelihood_and_misfit_are_those_of_the_task():
    task = problem(RandomMask((8, 8), 0.4))
    closed, x = gaussian_posterior(task), task.prior.sample(jax.random.key(0), 6).reshape((3, 2, 8, 8))
    measured = task.measure(jax.random.key(1), x[:, 0])
    pairs = pair_coordinates(closed, x, measured)
    one = jax.tree.map(lambda a: a[2], measured)
    assert np.isclose(float(pairs.log_likelihood[2, 1]), float(task.log_likelihood(x[2, 1], one)), rtol=1e-5)
    square = np.sum(np.asarray(one.mask * (one.y - x[2, 1])) ** 2) / 0.05**2 / np.asarray(one.mask).sum()
    assert np.isclose(np.exp(float(pairs.groups["misfit"][2, 1, 0])), square, rtol=1e-3)
    assert pairs.features("data", "misfit").shape == (3, 2, 13) and set(pairs.groups) == set(GROUPS)


def test_bands_double_and_fill_all_modes():
    assert band_edges(1024) == [0, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert band_edges(2) == [0, 1, 2] and band_edges(1) == [0, 1]
    with pytest.raises(ValueError, match="x has shape"):
        task = problem(Identity((8, 8)))
        one = task.measure(jax.random.key(0), task.prior.sample(jax.random.key(1), 1)[0])
        pair_coordinates(gaussian_posterior(task), np.zeros((1, 2, 8, 8)), one)


@pytest.mark.parametrize("levels", [(1.5, 90, -1), (0.0,), (0.5, np.nan)])
def test_tarp_refuses_levels_that_are_none(levels):
    x = np.zeros((3, 5, 2))
    with pytest.raises(ValueError, match="levels is .* expected fractions strictly between 0 and 1"):
        joint.tarp(x, x[:, 0], x[:, 0], levels)


@pytest.mark.parametrize("wrong", range(3))
def test_tarp_refuses_what_is_not_finite(wrong):
    arrays = [np.zeros((3, 5, 2)), np.zeros((3, 2)), np.zeros((3, 2))]
    arrays[wrong] = np.full_like(arrays[wrong], np.nan)
    with pytest.raises(ValueError, match="not finite"):
        joint.tarp(*arrays)
