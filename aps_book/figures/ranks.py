"""Ranks of simulation-based calibration: their ECDF against a simultaneous band."""

from aps_book.figures.style import book_style, colour_of, dash_of, new_figure
from aps_core.metrics.calibration import RankBand


def rank_panels(panels, columns=2, xlabel="rank of the truth"):
    """ECDF of ranks less that of uniform ones, a panel for each quantity: dict title -> {label: RankBand}; the band of the
    first label is drawn grey, since it is the same for all. Equal labels have equal colours. A RankBand may be a list of
    its fields, as the data of a full run's figure hold it. Raises ValueError without a panel.
    """
    if not panels:
        raise ValueError("panels is empty, expected at least one")
    panels = {title: {label: RankBand(*band) for label, band in panel.items()} for title, panel in panels.items()}
    order = list(dict.fromkeys(label for panel in panels.values() for label in panel))
    rows = -(-len(panels) // columns)
    with book_style():
        fig = new_figure(2.3 * rows + 0.9)
        axes = fig.subplots(rows, columns, sharex=True, squeeze=False).ravel()
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        for ax, (title, panel) in zip(axes, panels.items(), strict=False):
            band = next(iter(panel.values()))
            ax.fill_between(band.place, band.low, band.high, color="#d9d9d9", lw=0, step="mid")
            for label, found in panel.items():
                i = order.index(label)
                style = dict(color=colour_of(i), ls=dash_of(i), lw=1.6)
                ax.plot(found.place, found.difference, drawstyle="steps-mid", label=label, **style)
            ax.set_title(title, fontsize=11)
            ax.axhline(0, color="#555555", lw=0.8)
        for ax in axes[::columns]:
            ax.set_ylabel("ECDF − uniform")
        for ax in axes[max(0, len(panels) - columns) : len(panels)]:  # nothing is drawn under these
            ax.set_xlabel(xlabel)
            ax.tick_params(labelbottom=True)
        entries = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels())}
        fig.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=2, fontsize=10)
    return fig
