"""What the statistics of ``diagnose`` are compared with: those of signals for which the posterior was made.

A reference holds the statistics of draws of the prior, measured as the task says: there the prior is exact. A learned
prior is narrower than the signals that it was trained on, so the shipped references hold those of validation signals
besides. A measurement is doubted where it is more unusual than 95 % of the draws and, where there are signals, than
85 % of these.
"""

from dataclasses import dataclass

import jax
import numpy as np
from scipy.special import ndtr, ndtri

from aps_core import weights
from aps_core.checks import count, random_key
from aps_core.metrics.trust.evidence import evidence_of
from aps_core.metrics.trust.statistics import statistics
from aps_core.tasks.fingerprint import differences, made_for

FOLDER = "diagnose"  # below the folder of weights
DRAW_STEPS = 32  # evaluations of the network for one draw of the prior
N_GAUSSIAN, N_LEARNED = 1000, 256  # draws where no reference is shipped
LOWEST = 1e-300  # p-values below it are no numbers of use
RIDGE = 1e-3  # added to the correlations of the statistics
LEAST_DRAWS, LEAST_SIGNALS = 40, 20
LENIENCE = 3.0  # how many times as often as a draw of the prior a real signal may be doubted


@dataclass(frozen=True)
class Reference:
    """Statistics ``values`` (n, len(names)) of n measurements; the first ``n_draws`` are of draws of the prior, the
    rest of validation signals. ``source`` says so in words. Made by ``make_reference``.
    """

    names: tuple
    values: np.ndarray
    n_draws: int

    @property
    def source(self):
        """What was measured, in words."""
        signals = len(self.values) - self.n_draws
        parts = [f"{self.n_draws} draws of the prior"] * (self.n_draws > 0)
        parts += [f"{signals} validation signals"] * (signals > 0)
        return " and ".join(parts)

    def p_values(self, found):
        """Two-sided p-values (b,) of each statistic, by name, and of all together ("all"), for ``found``, dict name ->
        (b,).

        Each statistic becomes a normal score by its place among half of the draws. The scores together make two
        distances: the squared Mahalanobis distance, which sees what is unusual in many of them or in how they go
        together, and the largest score, which sees a single one. Their places are sought among the other half of the
        draws; the more unusual of the two decides, and its own place there is p, uniform for draws of the prior. Both
        ways of halving are averaged. Beyond the reference p falls exponentially, as its tail does. Where there are
        signals, p is the larger of p among the draws and a third of p among the signals.
        """
        given, (draws, signals) = self._stacked(found), np.split(self.values, [self.n_draws])
        each = self._each(given)[1]
        halves = np.split(np.random.default_rng(0).permutation(len(draws)), [len(draws) // 2])
        folds = [_together(draws[half], draws[other], signals, given) for half, other in (halves, halves[::-1])]
        p = {name: each[:, j] for j, name in enumerate(self.names)}
        return {**p, "all": np.maximum(np.mean(folds, axis=0), LOWEST)}

    def scores(self, found):
        """Each statistic of ``found``, dict name -> (b,), as a standard normal score (b,): positive where it is larger
        than usual, and beyond +-1.96 where its p-value is below 5 %.
        """
        sign, each = self._each(self._stacked(found))
        return {name: sign[:, j] * -ndtri(each[:, j] / 2) for j, name in enumerate(self.names)}

    def _stacked(self, found):
        return np.stack([np.asarray(found[name], np.float64) for name in self.names], axis=-1)

    def _each(self, given):
        """Signs and two-sided p-values (b, s) of each statistic alone."""
        draws, signals = np.split(self.values, [self.n_draws])
        among = normal_scores(draws, given)
        each = two_sided(among)
        if len(signals):
            each = np.maximum(each, two_sided(normal_scores(signals, given)) / LENIENCE)
        return np.sign(among), np.minimum(each, 1.0)


def normal_scores(values, given):
    """Where ``given`` (b, s) stands among ``values`` (n, s), as a quantile of the standard normal; beyond them linear
    in standard deviations of ``values``. What is not finite is far away.
    """
    n = len(values)
    z = ndtri((np.arange(n) + 0.5) / n)
    scores = np.empty(given.shape)
    for j, ordered in enumerate(np.sort(values, axis=0).T):
        t, spread = given[:, j], max(float(ordered.std()), 1e-12)
        inside = np.interp(t, ordered, z)
        below, above = z[0] - (ordered[0] - t) / spread, z[-1] + (t - ordered[-1]) / spread
        scores[:, j] = np.where(t < ordered[0], below, np.where(t > ordered[-1], above, inside))
    return np.nan_to_num(np.clip(scores, -1e6, 1e6), nan=1e6)


def two_sided(z):
    """P(|Z| > |z|) of a standard normal Z."""
    return np.maximum(2 * ndtr(-np.abs(z)), LOWEST)


def _together(scale, draws, signals, given):
    """p (b,) of ``given`` by the two distances whose scale is that of ``scale``: among ``draws``, or leniently among
    ``signals``.
    """
    own = normal_scores(scale, scale)
    inverse = np.linalg.inv(np.corrcoef(own, rowvar=False).reshape(own.shape[1], -1) + RIDGE * np.eye(own.shape[1]))

    def distances(x):
        z = normal_scores(scale, x)
        return np.einsum("ni,ij,nj->n", z, inverse, z), np.abs(z).max(axis=1)

    null = distances(draws)

    def unusual(x):
        return -np.log(np.min([upper_p(n, d) for n, d in zip(null, distances(x), strict=True)], axis=0) + LOWEST)

    p = upper_p(unusual(draws), unusual(given))
    return np.maximum(p, upper_p(unusual(signals), unusual(given)) / LENIENCE) if len(signals) else p


def upper_p(null, given):
    """The share of ``null`` (n,) above each of ``given`` (b,); beyond it an exponential fall at the rate of its
    highest tenth.
    """
    ordered, n = np.sort(null), len(null)
    share = (n - np.searchsorted(ordered, given) + 0.5) / (n + 1)
    high = np.quantile(ordered, 0.9)
    fall = max(float(np.mean(ordered[ordered >= high] - high)), 1e-12)
    return np.where(given > ordered[-1], 0.5 / (n + 1) * np.exp(-np.maximum(given - ordered[-1], 0.0) / fall), share)


def make_reference(posterior, key, n=None, signals=None, draws=None, evidence=None):
    """A Reference for ``posterior`` from ``n`` draws of its prior and, where given, from ``signals`` (m, *shape).

    n: by default 1000 for a Gaussian prior, 256 for a learned one, whose draws cost up to a second each; or ``draws``
    (n, *shape) that are at hand. signals: real ones that the flow was not trained on, at least 20. evidence: that of
    the task, where it is at hand. Raises TypeError or ValueError for another key, count or shape, ValueError for
    fewer than 40 draws, too few signals, and a prior that cannot be sampled.
    """
    task, key = posterior.task, random_key("key", key)
    k_draw, k_measure, k_signal = jax.random.split(key, 3)
    if draws is None:
        n = count("n", n or (N_GAUSSIAN if task.prior.is_gaussian else N_LEARNED))
        _enough("n", n, LEAST_DRAWS)
        draws = draw_prior(task.prior, k_draw, n)
    _enough("draws", len(draws), LEAST_DRAWS)
    measured = [task.measure(k_measure, draws)]
    if signals is not None:
        _enough("signals", len(signals), LEAST_SIGNALS)
        measured.append(task.measure(k_signal, signals))
    evidence = evidence_of(task) if evidence is None else evidence
    rows = [statistics(posterior, evidence, m) for m in measured]
    names = tuple(rows[0])
    values = np.concatenate([np.stack([np.asarray(row[name], np.float64) for name in names], axis=1) for row in rows])
    if not np.isfinite(values).all():
        raise ValueError(f"statistics of the reference of {posterior!r} are not all finite, expected numbers")
    return Reference(names, values, len(draws))


def _enough(name, n, least):
    if n < least:
        raise ValueError(f"{name} are {n}, expected at least {least}: fewer say nothing of what is unusual")


def draw_prior(prior, key, n, steps=DRAW_STEPS, churn=0.0):
    """``n`` draws (n, *shape) of a prior by the cheapest way that it has; ``steps`` evaluations of a network on the whole
    signal each, with ``churn`` (see ``fast_sampling.draw``). Raises ValueError where it has none.
    """
    if not prior.can_be_sampled:
        raise ValueError(
            f"{type(prior).__name__} cannot be sampled, so no reference can be made; expected reference=, made of signals"
        )
    return prior.fast_draws(key, n, steps, churn)


def save_reference(reference, posterior, path):
    """Write a Reference to ``path`` (.safetensors) with a card that says for which weights and task it is; returns
    the card.
    """
    card = {
        "diagnose": posterior.card.get("name", posterior.task.name),
        "weights_sha256": posterior.card.get("sha256"),
        "made_for": made_for(posterior.task),
        "names": list(reference.names),
        "n_draws": reference.n_draws,
        "source": reference.source,
    }
    return weights.save(path, {"statistics": reference.values}, card, np.float32)


def shipped_reference(posterior):
    """The Reference that is kept for the posterior's weights, None where there is none for these and this task.

    Raises WeightsError for a file that is truncated or altered.
    """
    name = posterior.card.get("name")
    if name is None:
        return None
    try:
        tree, card = weights.load(f"{FOLDER}/{name}")
    except FileNotFoundError:
        return None
    if card["weights_sha256"] != posterior.card.get("sha256") or differences(card["made_for"], posterior.task):
        return None
    return Reference(tuple(card["names"]), tree["statistics"].astype(np.float64), int(card["n_draws"]))
