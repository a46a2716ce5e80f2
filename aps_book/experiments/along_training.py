"""What the cards of the flows on faces say of their training: sample, mean and coverage against steps and seconds, and
against the noise of the gradient.
"""

import numpy as np

from aps_core.weights import load_card

FLOWS = {"forward": "faces-{task}-held-out", "reverse": "faces-{task}-reverse"}
LABELS = {"forward": "forward divergence", "reverse": "reverse divergence"}
KEPT = {"n1": ("val_psnr_n1", 1), "mean": ("val_psnr_mean64", 1), "inside_90": ("val_coverage_90", 100)}
COLUMNS = {
    "seconds": ("seconds", ",.0f"),
    "n1": ("N = 1 [dB]", ".2f"),
    "mean": ("mean of 64 [dB]", ".2f"),
    "inside_90": ("90 % intervals hold [%]", ".1f"),
}
GRADIENTS = {"reverse": "faces-denoise-reverse", "paper": "faces-denoise-paper"}  # path, 8 times; total, 1 time


def history(task, flow):
    """{"steps", "seconds", "n1", "mean" (dB), "inside_90" (%)} along the training of a flow of FLOWS, arrays, on the
    validation faces of its card.
    """
    states = load_card(FLOWS[flow].format(task=task))["history"]
    found = {key: factor * np.array([s[name] for s in states]) for key, (name, factor) in KEPT.items()}
    return {
        "steps": np.array([s["step"] for s in states]),
        "seconds": np.array([s["seconds"] for s in states]),
        **found,
    }


def store(run, task):
    """Keep the histories of both flows of a task, as ``along.sr2.reverse_50.n1`` and so on; returns the labels of these
    rows for ``Run.table``.
    """
    labels = {}
    for flow, label in LABELS.items():
        found = history(task, flow)
        for i, step in enumerate(found["steps"]):
            row = f"{flow}_{step}"
            run.numbers(f"along.{task}.{row}", {"seconds": found["seconds"][i]}, "s")
            run.numbers(f"along.{task}.{row}", {key: found[key][i] for key in KEPT})
            labels[row] = "before training" if step == 0 else f"{label}, {step} steps"
    return {row: label for row, label in labels.items() if row != "reverse_0"}  # both begin at the untrained flow


def curves(task):
    """Panels of sample, mean and coverage against seconds, for ``curves.panels``: dict ylabel -> dict label -> (x, y)."""
    found = {label: history(task, flow) for flow, label in LABELS.items()}
    return {
        COLUMNS[key][0].replace("[", "(").replace("]", ")"): {
            label: (h["seconds"], h[key]) for label, h in found.items()
        }
        for key in KEPT
    }


def at_equal_sample(task):
    """Where a sample of the reverse flow has as many decibels as one of the finished forward flow, along a line between two
    entries of its card: (its mean minus the forward flow's, dB; its coverage, %; the forward flow's, %), or None where it
    never has.
    """
    reverse, forward = history(task, "reverse"), history(task, "forward")
    goal = forward["n1"][-1]
    if reverse["n1"].max() < goal:
        return None
    last = int(np.argmax(reverse["n1"] >= goal))
    pair = slice(max(last - 1, 0), last + 1)
    mean, inside = (float(np.interp(goal, reverse["n1"][pair], reverse[key][pair])) for key in ("mean", "inside_90"))
    return mean - forward["mean"][-1], inside, forward["inside_90"][-1]


def traded(titles):
    """``at_equal_sample`` of the tasks ``titles`` (dict task -> words) in sentences."""
    said = []
    for task, title in titles.items():
        found = at_equal_sample(task)
        if found is None:
            said.append(f"{title}: a sample of the reverse flow never has the decibels of one of the forward flow.")
            continue
        gap, inside, usual = found
        said.append(
            f"{title}: where a sample of the reverse flow has as many decibels as one of the finished forward flow, its 90 % "
            f"intervals hold {inside:.1f} % ({usual:.1f} %), and its mean lies {abs(gap):.2f} dB "
            f"{'below' if gap < 0 else 'above'} that flow's."
        )
    return "\n".join(f"- {one}" for one in said)


def noise_of_the_gradient(numbers):
    """What two flows for denoising, trained with gradients of unlike noise, say of its part in where the mean ends, from
    their cards and the ``noise`` of a record; "not run" without that.
    """
    if "noise.path_8.variance_ratio" not in numbers:
        return "Noise of the gradient: not run."
    ratio = numbers["noise.path_8.variance_ratio"]["value"]
    cards = {name: load_card(weights) for name, weights in GRADIENTS.items()}
    begin, end = ({name: card["history"][i]["val_psnr_mean64"] for name, card in cards.items()} for i in (0, -1))
    batches = {name: card["recipe"]["objective"]["batch"] for name, card in cards.items()}
    per_step = ratio * batches["reverse"] / batches["paper"]
    return (
        f"Two flows for denoising were trained with either end of the table. With the path gradient and 8 times the mean "
        f"went from {begin['reverse']:.2f} to {end['reverse']:.2f} dB on validation faces; with the total gradient and one "
        f"time, from the weights of the forward flow and on other measurements, from {begin['paper']:.2f} to "
        f"{end['paper']:.2f} dB. The variance of the gradient is {ratio:.0f} times larger in the second at equal batch, "
        f"{per_step:.0f} times in a step of theirs, and the means end {abs(end['paper'] - end['reverse']):.2f} dB apart: "
        f"noise of the gradient does not say where they end."
    )
