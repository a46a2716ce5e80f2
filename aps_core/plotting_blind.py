"""Figure of the chapter on blind imputation."""

import numpy as np

from aps_core.plotting import DASHES, MARKERS, _colour, _figure, _legend_above, _style


def level_plot(curves, least=None):
    """PSNR against the share of missing cells.

    curves: dict label -> (shares in per cent, dB, standard errors); bars are two standard errors. least: dashed grey line at this value.
    """
    if not curves:
        raise ValueError("curves is empty, expected at least one")
    with _style():
        fig = _figure(4.4)
        ax = fig.subplots()
        for i, (label, (share, value, error)) in enumerate(curves.items()):
            at = np.asarray(share, float) + 0.35 * (i - (len(curves) - 1) / 2)
            ax.errorbar(at, value, yerr=2 * np.asarray(error, float), label=label, color=_colour(i), marker=MARKERS[i], ms=7, ls=DASHES[i], capsize=3)
        if least is not None:
            ax.axhline(least, color="#555555", ls=(0, (2, 2)), lw=1.5, label="least value in the paper")
        ax.set_xlabel("missing cells (%)"), ax.set_ylabel("PSNR (dB)")
        ax.grid(alpha=0.3)
        _legend_above(fig, ax)
    return fig
