"""R-hat and effective sample size of chains, held against ArviZ."""

import numpy as np
import pytest

from aps_book.experiments.convergence import effective_sample_size, r_hat


def chains():
    """By name four chains: correlated, of unequal spread, one moved, and of an odd number of independent draws."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(4, 200))
    for t in range(1, 200):
        x[:, t] = 0.7 * x[:, t - 1] + np.sqrt(1 - 0.49) * x[:, t]
    y = rng.standard_t(3, size=(4, 200))
    y[0] *= 2.0
    z = rng.normal(size=(4, 200))
    z[3] += 0.5
    return {"correlated": x, "wider": y, "moved": z, "odd": rng.normal(size=(4, 101))}


def test_both_are_those_of_arviz():
    """Numbers of arviz_stats 0.8.0 (``rhat`` and ``ess``, method "bulk")."""
    expected = {
        "correlated": (1.0143913334840378, 132.37706463368346),
        "wider": (1.0454294895855123, 628.3861031699412),
        "moved": (1.0351478873127593, 214.42123875980988),
        "odd": (1.0105321026650922, 371.6281273315518),
    }
    for name, draws in chains().items():
        found = float(r_hat(draws[..., None])[0]), float(effective_sample_size(draws[..., None])[0])
        assert np.allclose(found, expected[name], rtol=1e-6), name


def test_quantities_stand_side_by_side():
    x, y = chains()["correlated"], chains()["wider"]
    together = np.stack([x, y], axis=2)
    assert np.allclose(r_hat(together), [r_hat(x[..., None])[0], r_hat(y[..., None])[0]])
    assert effective_sample_size(together).shape == (2,)


def test_too_few_chains_and_draws_are_refused():
    for shape in ((1, 50, 2), (2, 3, 2), (2, 50)):
        with pytest.raises(ValueError, match="expected \\(chains, n, k\\)"):
            r_hat(np.zeros(shape))
    with pytest.raises(ValueError, match="not finite"):
        effective_sample_size(np.full((2, 10, 1), np.nan))
