"""A flow of one's own beside the closed form of the same task, as the tutorials judge it."""

from collections.abc import Mapping

from aps_book.record import Difference

CLOSED, FLOW = "closed", "flow"


def beside_closed_form(
    run, scores: Mapping[str, Mapping], n_samples: int, flow: str, signals: str, digits: int = 3
) -> None:
    """Keep, tabulate and compare what ``evaluate`` gave for the "closed" form and the "flow" on the same measurements.

    ``flow`` says what trained the flow, ``signals`` what was measured; the energy score is printed with ``digits``
    decimals. Numbers are kept as ``row.quantity``, the change of the energy score signal by signal as ``paired.energy``.
    """
    for name, score in scores.items():
        run.mean(f"{name}.psnr_n1", score["psnr_n1"], "dB")
        run.mean(f"{name}.psnr_mean", score["psnr_mean"], "dB")
        run.mean(f"{name}.energy", score["energy"])
        run.mean(f"{name}.coverage_90", 100 * score["coverage"][:, 1], "%")
    run.mean("paired.energy", scores[FLOW]["energy"] - scores[CLOSED]["energy"])
    run.table(
        {CLOSED: "closed form", FLOW: f"flow ({flow})"},
        {
            "psnr_n1": ("one sample [dB]", ".2f"),
            "psnr_mean": (f"mean of {n_samples} [dB]", ".2f"),
            "energy": ("energy score", f".{digits}f"),
            "coverage_90": ("90 % intervals hold [%]", ".1f"),
        },
        caption=f"{signals[0].upper()}{signals[1:]}.",
    )


def energy(digits: int = 3) -> Difference:
    """What the change of the energy score says of the flow, for ``run.verdict``."""
    form = f"+.{digits}f"
    return Difference("paired.energy", "the flow", "the closed form", better="lower", form=form, measure="energy score")
