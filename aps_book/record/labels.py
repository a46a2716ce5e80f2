"""How rows of tables name trained flows: no row says "APS" and not what trained it."""

from aps_core.weights import load_card, training_of

# what the measurements of a protocol are called
MEASUREMENTS = {"held-out": "held-out measurements", "paper": "test measurements"}


def row_label(card):
    """The label of a table's row for the flow of ``card``: "APS" where the paper's own objective alone trained it,
    otherwise "flow", and what did; for the reverse divergence, on whose measurements.
    """
    if "recipe" not in card:
        return "flow, untrained"
    kl, share, drawn, protocol, before = training_of(card)
    begun = (before or kl).split()[0]
    if kl == "reverse" and begun == "reverse":
        frozen = ", partly frozen" if card["recipe"].get("optimizer", {}).get("frozen") else ""
        return f"APS (reverse, {MEASUREMENTS[protocol]}{frozen})"
    if kl == "reverse":
        return f"flow ({'forward' if begun == 'forward' else 'mixed'}, then reverse, {MEASUREMENTS[protocol]})"
    if kl == "forward":
        return f"flow (forward, {'draws of the prior' if drawn else 'training signals'})"
    return f"flow ({100 * share:.0f} % forward, {100 - 100 * share:.0f} % reverse)"


def label_of(name):
    """``row_label`` of the weights ``name``. Raises as ``load_card``."""
    return row_label(load_card(name))


def in_a_sentence(label):
    """A label of ``row_label`` as a noun: "the flow (forward, draws of the prior)", "APS (reverse, ...)"."""
    return f"the {label}" if label.startswith("flow") else label
