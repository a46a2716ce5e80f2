"""May I believe the posterior for my measurement? ``diagnose`` compares it with measurements of known signals."""

import math
import weakref
from dataclasses import dataclass, field, replace

import jax
import numpy as np

from aps_core.checks import is_traced, random_key
from aps_core.metrics.trust.evidence import evidence_of
from aps_core.metrics.trust.reference import Reference, make_reference, shipped_reference
from aps_core.metrics.trust.statistics import statistics
from aps_core.operators import Measurement

DOUBT, REFUSE = 0.05, 0.001  # p-values of all statistics together below which a measurement is doubted, or refused
KEPT = 4  # posteriors whose reference and evidence stay in memory


@dataclass(frozen=True)
class Diagnosis:
    """What ``diagnose`` says of one measurement.

    verdict: "trust", "doubt" or "refuse". p_values: two-sided, by the name of the statistic (see
    ``metrics.trust.statistics``), and "all" for all of them together, which alone decides; empty where the
    measurement was refused by its values before anything was computed. text: one sentence that says why. scores: each
    statistic as a standard normal score among those of the reference, positive where it is larger than usual.
    """

    verdict: str
    p_values: dict = field(repr=False)
    text: str = ""
    scores: dict = field(default_factory=dict, repr=False)

    def __str__(self):
        return self.text


def diagnose(posterior, measurement, key=None, reference=None):
    """Whether samples of ``posterior`` may be believed for ``measurement``: a Diagnosis, or a list of them for a batch.

    The misfit of the data under samples of the flow, its free energy, what the learned prior says of the samples, and
    the data themselves, whitened mode by mode under the Gaussian part of the prior, are compared with those of a
    reference: signals that the posterior was made for, measured as its task says. "trust": together they are no more
    unusual than 95 % of it; "doubt": than 99.9 %; "refuse": beyond, or in another scale or orientation than
    ``task.check`` allows. A flow that serves many operators (``Flow.serves_any_operator``) is doubted at best where operator
    or noise lie outside the family of its training. That a measurement is trusted says that nothing speaks against it,
    not that the flow is the posterior.

    key: has no say in the verdict, so that a measurement has one: the samples that are looked at come from the random
    numbers that the reference was made with. reference: a Reference (``metrics.trust.make_reference``); by default the
    one that is shipped for the posterior's weights and task, otherwise one is made from draws of the prior at the
    first call, which takes milliseconds a draw under a Gaussian prior and up to a second under a learned one, and is
    kept for the next calls.

    Raises TypeError or ValueError for a key, a posterior or a measurement of another kind or shape, as
    ``posterior.sample`` does, ValueError inside ``jit``, and for a prior that cannot be sampled and no reference.
    """
    for name in ("task", "flow", "params", "card"):
        if not hasattr(posterior, name):
            raise TypeError(f"posterior must be an AmortizedPosterior, got {type(posterior).__name__} without {name}")
    if reference is not None and not isinstance(reference, Reference):
        raise TypeError(f"reference must be a Reference, as make_reference gives it, got {type(reference).__name__}")
    task, _ = posterior.task, random_key("key", jax.random.key(0) if key is None else key)
    task.check_form(measurement)
    if is_traced(measurement.y):
        raise ValueError(
            "measurement is traced, but a verdict needs its values; expected a call outside of jit, grad and vmap"
        )
    ones = _one_by_one(task, measurement)
    found = {i: Diagnosis("refuse", {}, f"Refuse: {r}.") for i, one in enumerate(ones) if (r := _refusal(task, one))}
    valid = [i for i in range(len(ones)) if i not in found]
    if valid:
        evidence, used = _kept(posterior, reference)
        stacked = jax.tree.map(lambda *a: np.stack(a), *(ones[i] for i in valid))
        values = {name: np.asarray(v) for name, v in statistics(posterior, evidence, stacked).items()}
        _check_names(used, values)
        p, scores = used.p_values(values), used.scores(values)
        for row, i in enumerate(valid):
            judged = _judged({name: float(v[row]) for name, v in p.items()}, values, row, used)
            judged = replace(judged, scores={name: float(v[row]) for name, v in scores.items()})
            found[i] = _within_family(posterior, judged)
    batched = np.ndim(measurement.y) > len(task.y_shape)
    return [found[i] for i in range(len(ones))] if batched else found[0]


def _one_by_one(task, measurement):
    """The measurements of a batch, or the single one, as a list of Measurement with float32 arrays."""
    shape = (-1, *task.y_shape)
    y = np.asarray(measurement.y, np.float32).reshape(shape)
    if measurement.mask is None:
        return [Measurement(one) for one in y]
    mask = np.asarray(measurement.mask, np.float32).reshape(shape)
    return [Measurement(one, seen) for one, seen in zip(y, mask, strict=True)]


def _refusal(task, measurement):
    """Why ``task.check`` refuses the values of a measurement of the right form, or None."""
    try:
        task.check(measurement)
    except ValueError as error:
        return str(error)
    return None


def _within_family(posterior, judged):
    """``judged``, but in doubt where the flow serves many operators and was trained for none like this one."""
    outside = posterior.flow.outside_of(posterior.card["family"]) if "family" in posterior.card else None
    if outside is None or judged.verdict == "refuse":
        return judged
    before = f" {judged.text}" if judged.verdict == "doubt" else ""
    text = f"Doubt: the flow was not trained for such an operator: {outside}.{before}"
    return replace(judged, verdict="doubt", text=text)


_memory: dict = {}  # id of a posterior -> (weak reference to it, evidence, own Reference or None)


def _kept(posterior, reference):
    """(evidence, Reference) of a posterior, ``reference`` where given: computed at its first diagnosis, then kept
    while it lives.
    """
    held, evidence, own = _memory.get(id(posterior), (lambda: None, None, None))
    if held() is not posterior:
        evidence, own = evidence_of(posterior.task), None
    if reference is None:
        own = own or shipped_reference(posterior) or make_reference(posterior, jax.random.key(1), evidence=evidence)
        reference = own
    while len(_memory) >= KEPT and id(posterior) not in _memory:
        _memory.pop(next(iter(_memory)))
    _memory[id(posterior)] = weakref.ref(posterior), evidence, own
    return evidence, reference


def _check_names(reference, values):
    if set(reference.names) != set(values):
        raise ValueError(
            f"reference has the statistics {sorted(reference.names)}, this posterior has {sorted(values)}; expected a "
            "reference that make_reference made for it"
        )


def _judged(p, values, row, reference):
    together = p["all"]
    verdict = "trust" if together >= DOUBT else "doubt" if together >= REFUSE else "refuse"
    source = f"those of {reference.source}"
    chance = f"p = {together:.2g}"
    if verdict == "trust":
        return Diagnosis(verdict, p, f"Trust: nothing sets this measurement apart from {source} ({chance}).")
    name = min(reference.names, key=lambda n: p[n])
    usual = float(np.median(reference.values[:, reference.names.index(name)]))
    word = "Doubt" if verdict == "doubt" else "Refuse"
    reason = describe(name, float(values[name][row]), usual)
    return Diagnosis(verdict, p, f"{word}: this measurement is unlike {source} ({chance}); {reason}.")


def describe(name, value, usual):
    """The most unusual statistic in words: ``value`` against the ``usual`` one of the reference."""
    more = "larger" if value > usual else "smaller"
    nats = f"{abs(value - usual):.3g} nats"
    if name == "free_energy":
        return f"under noise and prior it is {'less' if value > usual else 'more'} probable, by {nats}"
    if name == "prior_ratio":
        return f"the prior finds its samples {nats} {'more' if value > usual else 'less'} probable than usual"
    if name == "fit":
        return f"given its samples the data are {'more' if value > usual else 'less'} probable than usual, by {nats}"
    times = f"{math.exp(min(abs(value - usual), 600.0)):.3g} times {more} than usual"
    if name == "misfit":
        return f"the squared misfit of its samples to the data is {times}"
    if name == "closeness":
        return f"the squared distance of the posterior mean from the prior mean is {times}"
    if name == "rest":
        return f"the energy of the data outside all modes of the prior, which is that of the noise, is {times}"
    first, last = name.split("_")[1:]
    return f"the energy of the data in modes {first} to {last}, from coarse to fine, is {times}"
