"""The strip under an experiment's table: what ``diagnose`` says of the page's own test measurements."""

import jax

from aps_core.metrics.trust import diagnose
from aps_core.metrics.trust.reference import shipped_reference
from aps_core.posterior import load_posterior

VERDICTS = {"trust": "trusted", "doubt": "doubted", "refuse": "refused"}
MOST = 64  # measurements that are looked at, the first ones


def counted(found):
    """How many of the Diagnoses ``found`` there are of each verdict: {"trusted": ..., "doubted": ..., "refused": ...}."""
    return {word: sum(one.verdict == verdict for one in found) for verdict, word in VERDICTS.items()}


def said(run, name, posterior, measurements):
    """A line for ``run.say`` on the first MOST of a batch of measurements, whose numbers are kept as
    ``diagnosed.<name>.trusted``, ``doubted`` and ``refused``. It goes by the reference that is shipped with the
    posterior's weights, and where there is none for its task, as after a change of the noise, says so.
    """
    reference = shipped_reference(posterior)
    if reference is None:
        return "`diagnose`: no reference is shipped for this flow and this task."
    few = jax.tree.map(lambda a: a[:MOST], measurements)
    found = diagnose(posterior, few, reference=reference)
    for word, number in counted(found).items():
        run.number(f"diagnosed.{name}.{word}", number, n=len(found))
    shown = ", ".join(f"{{diagnosed.{name}.{word}:.0f}} {word}" for word in VERDICTS.values())
    return f"`diagnose` on {len(found)} of this build's test measurements, flow “{posterior.trained_by}”: {shown}."


def of_experiment(run, found):
    """``said`` of the measurements of an Experiment on faces, by the flow that ``load_posterior`` gives of its task."""
    return said(run, found.name, load_posterior(found.task), found.case.measurements)
