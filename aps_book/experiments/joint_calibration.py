"""The chapter on joint calibration: ranks, intervals by band, TARP and a classifier, on draws of the shipped priors.

There the truth is exact.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from aps_book.experiments import faces_rivals
from aps_book.experiments.joint_kept import Found, keeper, packed, unpacked
from aps_book.experiments.mixture_posterior import mixture_posterior
from aps_book.experiments.pair_coordinates import pair_coordinates
from aps_book.experiments.sampler_names import names
from aps_book.record import Difference, full_run, integer, tuning_records
from aps_book.record.labels import label_of
from aps_book.record.provenance import sha256_of_file
from aps_core.metrics import calibration, joint
from aps_core.metrics.trust import importance, metropolis
from aps_core.metrics.trust.reference import draw_prior
from aps_core.operators import dense_matrix
from aps_core.posterior import gaussian_posterior, load_posterior
from aps_core.priors.store import load_prior
from aps_core.samplers import make_sampler
from aps_core.tasks import load_task
from aps_core.weights import load_card


@dataclass(frozen=True)
class Problem:
    """A task, its label, trained flows (row -> weights; "flow" on faces that of the forward divergence), the row that
    Metropolis steps correct, and the learned prior whose draws are measured, where the task's own are not exact.
    """

    task: str
    label: str
    weights: Mapping[str, str] = field(default_factory=dict)
    corrected: str | None = None
    prior: str | None = None


def _faces(name, label, *more):
    weights = {row: f"faces-{name}-{row.replace('_', '-')}" for row in ("reverse", *more)}
    return Problem(f"faces-{name}", label, {"flow": f"faces-{name}-held-out", **weights}, prior="faces-prior")


BUNNY = {"flow": "bunny-inpaint-held-out", "reverse": "bunny-inpaint-reverse", "forward": "bunny-inpaint-forward"}
PROBLEMS = {
    "gaussian16": Problem("gaussian16", "16 x 16 patches", {"flow": "gaussian16-realnvp-denoise"}, "flow"),
    "mixture2": Problem("mixture2", "two entries, three humps", corrected="closed"),
    "sphere": Problem(
        "sphere-impute",
        "temperature",
        {"flow": "sphere-impute-held-out", "any": "sphere-impute-any"},
        prior="sphere-prior",
    ),
    "bunny": Problem("bunny-inpaint", "digits on the bunny", BUNNY, prior="bunny-prior"),
    "denoise": _faces("denoise", "faces, denoising", "reverse_spread"),
    "sr2": _faces("sr2", "faces, 2x super-resolution"),
    "deblur": _faces("deblur", "faces, deblurring"),
}
LABELS = {
    "exact": "exact posterior",
    "closed": "Gaussian closed form",
    "corrected": "after Metropolis steps",
    "prior": "draws of the prior",
    "dps": "DPS, default setting",
    "dps_tuned": "DPS, tuned",
    **{row: f"{name}, tuned" for row, name in names("ddrm", "pigdm").items()},
}
RIVALS = ("dps", "dps_tuned", "ddrm", "pigdm")  # samplers that iterate; tuned ones as the searches have recorded
DEFAULT = ", default"
QUANTITIES = {
    "entry": "one entry",
    "mode": "first mode of the prior",
    "fine_mode": "fortieth mode of the prior, or its last",
    "log_likelihood": "log-likelihood",
    "log_q": "log q",
}
FINE = 39  # position of the fortieth mode, or of the last
BANDS, BAND_MODES = 5, 1000  # coverage is asked of the leading modes of the prior, in bands of equal number
LEVELS = (0.5, 0.9)
DRAWS_SEED = 1000  # added to a seed, so that no draw is one of training
WITHIN = 2.0  # points from 90 % that a band may lie
# how the pools of forward training were drawn: evaluations of the network and churn; the flows of the sphere have none
DRAWN = {"faces-prior": {"steps": 12}, "bunny-prior": {"steps": 80, "churn": 2.0}, "sphere-prior": {}}
FEW = ("corrected", *RIVALS)  # rows whose pairs for the classifier are those of the ranks
PROPOSALS = 8  # Metropolis steps of each chain
GROUPS = {"coarse": "coarse modes", "energy": "energy of bands", "tails": "tails", "misfit": "misfit of the data"}


@dataclass(frozen=True)
class PriorDraws:
    """A sampler that never looks at the data: new draws of the prior or, where these are dear, some of the ``signals``
    (m, *shape) of the other measurements.
    """

    task: object
    signals: object = None

    def sample(self, key, measurements, n):
        """n draws (batch, n, *shape) for a batch."""
        batch = len(measurements.y)
        if self.signals is None:
            return self.task.prior.sample(key, batch * n).reshape((batch, n, *self.task.shape))
        keys = jax.random.split(key, batch)
        others = jax.vmap(lambda k, i: (i + 1 + jax.random.choice(k, batch - 1, (n,), batch <= n)) % batch)
        return jnp.asarray(self.signals)[others(keys, jnp.arange(batch))]


@dataclass(frozen=True)
class Corrected:
    """Independence Metropolis steps that propose from ``posterior``, exact in the limit of many."""

    posterior: object
    steps: int = PROPOSALS

    def sample(self, key, measurements, n):
        """n chains (batch, n, *shape) for a batch, where they stand after the steps."""
        found = []
        for i, k in enumerate(tqdm(jax.random.split(key, len(measurements.y)), desc="corrected", disable=None)):
            one = jax.tree.map(lambda a, i=i: a[i], measurements)
            found.append(metropolis(self.posterior, k, one, n, self.steps).samples)
        return np.stack(found)


@dataclass(frozen=True)
class ExactMixture:
    """The posterior of a task under a mixture of Gaussians and a linear operator, in closed form."""

    task: object

    def sample(self, key, measurements, n):
        """n draws (batch, n, *shape) for a batch."""
        matrix, keys = jnp.asarray(dense_matrix(self.task.operator)), jax.random.split(key, len(measurements.y))
        seen = np.flatnonzero(np.abs(matrix).sum(axis=1))

        def one(args):
            k, y = args
            return mixture_posterior(self.task.prior, float(self.task.sigma_y), y[seen], matrix[seen]).sample(k, n)

        return jax.lax.map(one, (keys, measurements.y))


@cache
def draws(prior, n, seed):
    """n draws (n, *shape) of the shipped prior of that name, as those of its flows' training, with another seed; faces
    are reflected at random, as those were.
    """
    k_draw, k_flip = jax.random.split(jax.random.key(seed + DRAWS_SEED))
    loaded, card = load_prior(prior)
    keep = keeper(weights=card["sha256"], n=n, seed=seed)
    x = keep(f"draws-{prior}", lambda: {"x": np.asarray(draw_prior(loaded, k_draw, n, **DRAWN[prior]))})["x"]
    return _mirrored(k_flip, jnp.asarray(x)) if prior == "faces-prior" else jnp.asarray(x)


def _mirrored(key, x):
    return jnp.where(jax.random.bernoulli(key, shape=(len(x), 1, 1, 1)), x[:, :, ::-1], x)


def samplers(problem, task, x0, correct=True):
    """Samplers by row of one of PROBLEMS, those that cost one evaluation or little more; ``correct``: with Metropolis
    steps, where the problem has them.
    """
    of = PROBLEMS[problem]
    found = {"exact": ExactMixture(task)} if problem == "mixture2" else {}
    found["closed"] = gaussian_posterior(task)
    found |= {row: load_posterior(task, weights=name) for row, name in of.weights.items()}
    if of.corrected and correct:
        found["corrected"] = Corrected(found[of.corrected])
    return {**found, "prior": PriorDraws(task, x0 if of.prior else None)}


def pairs(high):
    """Rule of a parameter: 0, or as many pairs as the classifier needs at least, up to ``high``."""
    rule = integer(0, high)

    def some(name, value):
        if 0 < rule(name, value) < joint.LEAST_PAIRS:
            raise ValueError(f"{name} = {value!r}: expected 0 or an integer of at least {joint.LEAST_PAIRS}")
        return int(value)

    return some


def rivals_of(problem, task, rows=RIVALS, dps_steps=None):
    """Samplers that iterate, by row of RIVALS. "dps" is DPS as it comes, with ``dps_steps`` steps where that is given; the
    others have the settings that a search found best for the problem, number of steps included. On faces the tuned ones
    alone.
    """
    on_faces, found = problem in faces_rivals.TASKS, {}
    for row in rows:
        method = row.removesuffix("_tuned")
        if row == "dps":
            default = {} if dps_steps is None else {"n_steps": dps_steps}
            found |= {} if on_faces else {row: make_sampler("dps", task, **default)}
        elif on_faces:
            found |= {row: faces_rivals.rivals(problem, task, (method,))[method]}
        else:
            searched = tuning_records.read(tuning_records.path("samplers"))[problem]
            found[row] = make_sampler(method, task, **searched[method]["best"])
    return found


def labels(problem):
    """Labels of the rows of a problem."""
    trained = {row: label_of(name) for row, name in PROBLEMS[problem].weights.items()}
    for row, more in (
        ("flow", DEFAULT if len(trained) > 1 else ""),
        ("any", ", any mask"),
        ("reverse_spread", ", spread"),
    ):
        trained |= {row: trained[row] + more} if row in trained else {}
    order = ("exact", "closed", *trained, "corrected", "prior", *RIVALS)
    return {row: {**LABELS, **trained}[row] for row in order if row in {**LABELS, **trained}}


def study(problem, n_signals, n, n_pairs=0, n_iterative=0, correct=True, seed=0, rivals=("dps",), dps_steps=None):
    """Measure draws of the prior of one of PROBLEMS and test every sampler: dict row -> Found. ``n`` samples of each of
    the first ``n_signals`` for ranks and intervals, one of each of ``n_pairs``, or as many, for the classifier.

    Samplers that iterate take their pairs from the samples of the first: Metropolis steps, and ``rivals`` (see
    ``rivals_of``, with ``dps_steps``) where the posterior is known. On faces the tuned ones make one sample of each of the
    first ``n_iterative``. correct: as in ``samplers``. A full run keeps each row (``joint_kept``), and goes on where an
    interrupted one stopped.
    """
    of, task = PROBLEMS[problem], load_task(PROBLEMS[problem].task)
    k_signal, k_measure, k_sample, k_pair = jax.random.split(jax.random.key(seed), 4)
    total = max(n_signals, n_pairs)
    x0 = draws(of.prior, total, seed) if of.prior else task.prior.sample(k_signal, total)
    measured, closed = task.measure(k_measure, x0), gaussian_posterior(task)
    head, few = (jax.tree.map(lambda a, m=m: a[:m], measured) for m in (n_signals, n_iterative))

    def tested(row, sampler):
        samples = np.asarray(sampler.sample(k_sample, head, n))
        pairs = samples[:, :1] if row in FEW else np.asarray(sampler.sample(k_pair, measured, 1))
        told = classified(closed, x0, measured, pairs, seed)
        return Found(*ranked(closed, sampler, x0[:n_signals], head, samples, seed), told)

    def told_apart(sampler):
        pairs, _ = faces_rivals.sample(sampler, k_pair, few, 1)
        return Found(None, {}, None, classified(closed, x0, measured, pairs, seed))

    made = {row: partial(tested, row, one) for row, one in samplers(problem, task, x0, correct).items()}
    if not of.prior:
        made |= {row: partial(tested, row, one) for row, one in rivals_of(problem, task, rivals, dps_steps).items()}
    elif n_iterative and problem in faces_rivals.TASKS:
        made |= {row: partial(told_apart, one) for row, one in rivals_of(problem, task).items()}
    sizes = {"n_signals": n_signals, "n": n, "n_pairs": n_pairs, "n_iterative": n_iterative, "seed": seed}
    keep = keeper(read=_read(problem), dps_steps=dps_steps, **sizes)
    return {row: unpacked(keep(f"{problem}-{row}", lambda make=make: packed(make()))) for row, make in made.items()}


def _read(problem):
    """Digests of what the rows of a problem are made from: weights, prior and recorded searches."""
    of = PROBLEMS[problem]
    read = [card["sha256"] for card in cards(problem)] + ([load_prior(of.prior)[1]["sha256"]] if of.prior else [])
    return read + [sha256_of_file(tuning_records.path(name)) for name in ("samplers", faces_rivals.SEARCH)]


def classified(closed, x0, measured, samples, seed=0):
    """C2st by group of features of one sample (b, 1, *shape) of each of the first b ``measured`` signals ``x0``."""
    b = len(samples)
    together = jnp.concatenate([jnp.asarray(x0)[:b, None], jnp.asarray(samples)], axis=1)
    pairs = pair_coordinates(closed, together, jax.tree.map(lambda a: a[:b], measured))
    groups = {group: ("data", group) for group in GROUPS} | {"all": tuple(pairs.groups)}
    return {name: _told_apart(pairs, shown, seed) for name, shown in groups.items()}


def ranked(closed, sampler, x0, measured, samples, seed=0):
    """Coverage, ranks and Tarp of a Found, of ``samples`` (b, n, *shape) of ``measured`` signals ``x0`` (b, *shape)."""
    together = jnp.concatenate([jnp.asarray(x0)[:, None], jnp.asarray(samples)], axis=1)
    pairs = pair_coordinates(closed, together, measured)
    modes = np.asarray(_modes(closed.task.prior.gaussian, together))
    values = quantities(sampler, together, modes, measured) | {"log_likelihood": pairs.log_likelihood}
    n, white = samples.shape[1], np.asarray(pairs.white)
    ranks = {
        name: calibration.rank_band([_rank(v) for v in np.asarray(values[name], np.float64)], n, seed=seed)
        for name in QUANTITIES
        if name in values
    }
    references = np.random.default_rng(seed).standard_normal(white[:, 0].shape)  # of the closed form
    covered = np.stack([_covered(x, m) for x, m in zip(np.asarray(together), modes, strict=True)])
    return covered, ranks, joint.tarp(white[:, 1:], white[:, 0], references, LEVELS, seed=seed)


def _told_apart(pairs, groups, seed):
    """C2st of the pairs by some groups of features; the others are 0, so that one compiled program serves all."""
    shown = [np.asarray(values, np.float64) * (name in groups) for name, values in pairs.groups.items()]
    features = np.concatenate(shown, axis=-1)
    return joint.c2st(features[:, 0], features[:, 1], seed=seed)


def _rank(values):
    """Rank of the first value among the others."""
    return calibration.sbc_ranks(values[1:, None], values[:1])[0]


def _covered(x, modes):
    """Coverage of 90 % (1 + BANDS,) of the first of signals x (1 + n, *shape) with amplitudes ``modes`` (1 + n, k)."""
    bands = [b for b in np.array_split(np.arange(modes.shape[1]), BANDS) if len(b)]
    parts = [x.reshape(len(x), -1), *(modes[:, band] for band in bands)]
    return np.array([calibration.coverage(part[1:], part[0], LEVELS[1:])[0] for part in parts])


@jax.jit
def _modes(gaussian, x):
    return (x.reshape((*x.shape[:2], -1)) - gaussian.mean) @ gaussian.basis[:, :BAND_MODES]


def quantities(sampler, x, modes, measured):
    """Test quantities (batch, n) of signals ``x`` (batch, n, *shape) with amplitudes ``modes``, by name; log q where the
    sampler has a density.
    """
    flat = x.reshape((*x.shape[:2], -1))
    found = {"entry": flat[..., flat.shape[-1] // 2], "mode": modes[..., 0]}
    found["fine_mode"] = modes[..., min(FINE, modes.shape[-1] - 1)]
    return found | ({"log_q": sampler.log_prob(x, measured)} if hasattr(sampler, "log_prob") else {})


def store(run, problem, found):
    """Keep what ``study`` found as ``problem.row.quantity``: coverage of 90 % intervals in %, p-values of ranks and how
    many leave their band, area of TARP in %, its p-value, and the accuracy of the classifier in %, and above 50 %.
    """
    for row, of in found.items():
        prefix = f"{problem}.{row}"
        if of.coverage is not None:
            n = len(of.coverage)
            for name, values in zip(("all", *bands(of.coverage.shape[1] - 1)), of.coverage.T, strict=True):
                run.mean(f"{prefix}.{name}_90", 100 * values, "%")
            run.mean(f"{prefix}.off_90", 100 * of.coverage[:, 0] - 90, "%")
            for name, band in of.ranks.items():
                run.number(f"{prefix}.{name}_p", band.p, n=n)
            run.number(f"{prefix}.outside", sum(not band.inside for band in of.ranks.values()), n=n)
            run.number(f"{prefix}.tarp_area", 100 * of.tarp.area, 100 * of.tarp.area_se, "%", n)
            run.number(f"{prefix}.tarp_p", of.tarp.band.p, n=n)
        for group, told in of.c2st.items():
            name = "c2st" if group == "all" else f"c2st_{group}"
            run.number(f"{prefix}.{name}", 100 * told.accuracy, 100 * told.se, "%", told.n)
        told = of.c2st["all"]
        run.number(f"{prefix}.c2st_above", 100 * told.accuracy - 50, 100 * told.se, "%", told.n)


CORRECTED = tuple(problem for problem, of in PROBLEMS.items() if of.corrected)


def bands(n=BANDS):
    """Names of bands of modes, coarse first."""
    return [f"band{i + 1}" for i in range(n)]


def store_correction(run, problem, seed=0):
    """Keep the Monte Carlo error of a log-weight, in nats, for one draw of a learned prior as
    ``problem.log_weight_error``: from 1 on a correction is not available.
    """
    of, task = PROBLEMS[problem], load_task(PROBLEMS[problem].task)
    one = task.measure(
        jax.random.key(seed), draws(of.prior, max(run.parameters["n_signals"], run.parameters["n_pairs"]), seed)[0]
    )
    found = importance(load_posterior(task), jax.random.key(seed), one, 25)
    run.number(f"{problem}.log_weight_error", found.log_weight_error, unit="nats")


def panels(found, problem):
    """Ranks of every quantity, and those of TARP, with the words of the page, for a figure."""
    named = labels(problem)
    shown = {
        label: {named[row]: of.ranks[name] for row, of in found.items() if name in of.ranks}
        for name, label in QUANTITIES.items()
    }
    shown["distance to a random point (TARP)"] = {named[row]: of.tarp.band for row, of in found.items() if of.tarp}
    return shown


def numbers(run):
    """(all numbers of the full run, or of this one without it; whether they are those of the full run)."""
    full = full_run(run.notebook)
    return (run.as_dict()["numbers"], False) if full is None else (full["numbers"], True)


def rows(run, problem, quantity="c2st"):
    """Labels of the rows of a problem of which this run or the full one has the quantity."""
    known = {**(full_run(run.notebook) or {"numbers": {}})["numbers"], **run.as_dict()["numbers"]}
    return {row: label for row, label in labels(problem).items() if f"{problem}.{row}.{quantity}" in known}


def known_problems(run):
    """The problems of which this run or the full one has something, in order."""
    return [problem for problem in PROBLEMS if rows(run, problem)]


def accuracies(run):
    """Accuracy of the classifier with its standard error, in %: dict label of a problem -> {label of a row: (value,
    standard error)}, of the full run where there is one.
    """
    stored, _ = numbers(run)
    found = {}
    for problem, of in PROBLEMS.items():
        keys = {label: f"{problem}.{row}.c2st" for row, label in labels(problem).items()}
        of_rows = {label: (stored[k]["value"], stored[k]["se"]) for label, k in keys.items() if k in stored}
        found |= {of.label: of_rows} if of_rows else {}
    return found


def verdicts(problems):
    """Differences for ``run.verdict``: the classifier's accuracy and the coverage of all entries for the default flow of
    each problem, against what an exact posterior has.
    """
    found = []
    for problem in problems:
        of = PROBLEMS[problem]
        row = "flow" if of.weights else "closed"
        name = f"{labels(problem)[row]} ({of.label})"
        found.append(
            Difference(f"{problem}.{row}.c2st_above", name, "50 %", None, "+.1f", measure="accuracy of the classifier")
        )
        found.append(Difference(f"{problem}.{row}.off_90", name, "90 %", None, "+.1f", measure="coverage"))
    return found


def by_how_much(run, problem):
    """A sentence for ``run.say`` on the bands of the default flow, or of the closed form, whose coverage lies more than
    WITHIN points from 90 %, of the full run where there is one.
    """
    stored, full = numbers(run)
    row = "flow" if PROBLEMS[problem].weights else "closed"
    keys = {band: f"{problem}.{row}.{band}_90" for band in bands()}
    keys = {band: key for band, key in keys.items() if key in stored}
    away = [band for band, key in keys.items() if abs(stored[key]["value"] - 90) > WITHIN]
    where = "full/" if full else ""
    said = ", ".join(f"{{{where}{keys[band]}:.1f}} ± {{{where}{keys[band]}.se:.1f}} %" for band in away)
    named = f"{PROBLEMS[problem].label}, {labels(problem)[row]}"
    if not away:
        return f"{named}: the coverage of all {len(keys)} bands lies within {WITHIN:.0f} points of 90 %."
    return f"{named}: {len(away)} of {len(keys)} bands lie more than {WITHIN:.0f} points from 90 %, at {said}."


def cards(problem):
    """Cards of the weights of a problem."""
    return [load_card(name) for name in PROBLEMS[problem].weights.values()]


def learned_problems(run):
    """The problems with a learned prior of which this run or the full one has something."""
    return [problem for problem in known_problems(run) if PROBLEMS[problem].prior]


def of_full_run(run):
    """Whether ``accuracies`` are those of the full run."""
    return bool(numbers(run)[1])


def source(run):
    """Of which run ``accuracies`` are, in words."""
    return "of the full run" if of_full_run(run) else "of this build"


def not_available(run):
    """A sentence for ``run.say`` on where corrections are not available, from the errors of log-weights that this run or
    the full one has; "" without any.
    """
    full = (full_run(run.notebook) or {"numbers": {}})["numbers"]
    here = run.as_dict()["numbers"]
    parts = []
    for problem in learned_problems(run):
        key = f"{problem}.log_weight_error"
        if key in here or key in full:
            where = "" if key in here else "full/"
            parts.append(f"{PROBLEMS[problem].label} {{{where}{key}:.1f}} nats")
    return f"Monte Carlo error of one log-weight: {', '.join(parts)}." if parts else ""
