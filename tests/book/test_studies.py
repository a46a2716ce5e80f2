"""The start-time trap: training that starts at the exact posterior must leave it there, and a badly cut bound must not."""

import numpy as np
import pytest

from aps_book.experiments import short_trainings

EIGENVALUES = np.logspace(0, -5, 64)


def test_diagonal_task_has_the_given_variances():
    task = short_trainings.diagonal_task(EIGENVALUES, sigma_y=0.1, t_min=1e-3)
    assert task.prior.sde.t_min == 1e-3
    np.testing.assert_allclose(np.diag(task.prior.covariance()), EIGENVALUES, rtol=1e-4)
    variance = np.asarray(task.signals("train")).var(axis=0)
    np.testing.assert_allclose(variance, EIGENVALUES, rtol=6 * np.sqrt(2 / 4096))


@pytest.mark.long
def test_small_start_time_and_its_term_leave_the_posterior_where_it_is():
    found = short_trainings.start_from_exact(short_trainings.diagonal_task(EIGENVALUES, t_min=1e-5), "elbo")
    assert found["kl"] <= 0.002
    assert abs(found["ratio_change"]) <= 0.02 * found["ratio_before"]
    np.testing.assert_allclose(found["variance_ratio"], 1, atol=0.15)


@pytest.mark.long
def test_large_start_time_without_its_term_spoils_the_posterior():
    found = short_trainings.start_from_exact(short_trainings.diagonal_task(EIGENVALUES, t_min=1e-3), "elbo-no-start")
    assert found["kl"] > 0.02
    assert found["ratio"] > 2.1
    assert found["variance_ratio"][-1] > 2 and abs(found["variance_ratio"][:16] - 1).max() < 0.15
