"""What ``diagnose`` finds: the statistics of measurements against their reference, and ROC curves of telling faults from
right ones.
"""

import numpy as np

from aps_book.figures.style import book_style, colour_of, dash_of, legend_above, marker_of, new_figure

WORDS = {
    "misfit": "misfit of the data",
    "free_energy": "free energy",
    "prior_ratio": "learned prior of the samples",
    "closeness": "distance from the prior mean",
    "rest": "energy outside all modes",
}
USUAL = 1.96  # within it lie 95 % of what the posterior was made for
FARTHEST = 8.0  # scores beyond are drawn there, as arrows


def words(name):
    """A statistic of ``diagnose`` as a label: "modes_5_8" is "energy of modes 5 to 8"."""
    return WORDS.get(name) or "energy of modes {} to {}".format(*name.split("_")[1:])


def score_rows(found, xlabel="standard normal score"):
    """The statistics of measurements as scores among those of the reference, one row each, with a grey band in which 95 %
    lie: ``found`` dict label -> ``Diagnosis.scores``, or a list of these, one mark each. Scores beyond +-8 are arrows at
    the edge. Raises ValueError where there is none.
    """
    groups = {label: [one] if isinstance(one, dict) else list(one) for label, one in found.items()}
    groups = {label: [one for one in ones if one] for label, ones in groups.items()}
    names = sorted({name for ones in groups.values() for one in ones for name in one}, key=_order)
    if not names:
        raise ValueError(
            "found holds no scores, expected at least those of one measurement that was not refused unseen"
        )
    with book_style():
        fig = new_figure(0.27 * len(names) + 1.3)
        ax = fig.subplots()
        ax.axvspan(-USUAL, USUAL, color="#d9d9d9", lw=0)
        for i, (label, ones) in enumerate(groups.items()):
            x = np.array([[one.get(name, np.nan) for name in names] for one in ones]).reshape(-1, len(names))
            rows = np.broadcast_to(np.arange(len(names)) + 0.24 * (i - (len(groups) - 1) / 2), x.shape)
            style = dict(color=colour_of(i), ls="none", ms=7 if len(ones) == 1 else 4.5, clip_on=False)
            inside = np.abs(x) <= FARTHEST
            ax.plot(x[inside], rows[inside], marker=marker_of(i), label=label, alpha=0.85, **style)
            for side, arrow in ((-1, "<"), (1, ">")):
                beyond = side * x > FARTHEST
                ax.plot(np.full(beyond.sum(), side * FARTHEST), rows[beyond], marker=arrow, **style)
        ax.axvline(0, color="#555555", lw=0.8)
        ax.set_yticks(range(len(names)), [words(name) for name in names], fontsize=10)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set_xlim(-FARTHEST, FARTHEST)
        ax.set_xlabel(xlabel)
        ax.tick_params(axis="y", length=0)
        legend_above(fig, ax)
    return fig


def _order(name):
    """Statistics of the samples first, then bands of modes from coarse to fine, then the rest."""
    first = list(WORDS).index(name) if name in WORDS and name != "rest" else len(WORDS)
    return first, name == "rest", int(name.split("_")[1]) if name.startswith("modes") else 0


def roc_panels(panels, columns=4):
    """ROC curves, a panel for each fault: ``panels`` dict title -> {label: (false, found, area, (false, found))}, shares in
    [0, 1] along the curve, the area under it, and where the verdict stands on it, an open mark. Equal labels have equal
    colours. Raises ValueError without a panel.
    """
    if not panels:
        raise ValueError("panels is empty, expected at least one")
    order = list(dict.fromkeys(label for panel in panels.values() for label in panel))
    rows = -(-len(panels) // columns)
    with book_style():
        fig = new_figure(1.75 * rows + 0.8)
        axes = fig.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        for ax, (title, panel) in zip(axes, panels.items()):
            ax.plot([0, 1], [0, 1], color="#555555", lw=0.8, ls=(0, (4, 2)))
            for j, (label, (false, hit, area, at)) in enumerate(panel.items()):
                i = order.index(label)
                style = dict(color=colour_of(i), clip_on=False)
                ax.plot(false, hit, ls=dash_of(i), lw=1.6, label=label, **style)
                ax.plot(*at, marker=marker_of(i), ms=5, mfc="white", mew=1.3, ls="none", zorder=3, **style)
                ax.text(
                    0.97, 0.05 + 0.15 * (len(panel) - 1 - j), f"{area:.2f}", color=colour_of(i), ha="right", fontsize=9
                )
            ax.set_title(_two_lines(title), fontsize=9)
            ax.set_xticks([0, 1]), ax.set_yticks([0, 1])
            ax.tick_params(labelsize=9)
        for ax in axes[max(0, len(panels) - columns) : len(panels)]:  # nothing is drawn under these
            ax.tick_params(labelbottom=True)
        (fig.supxlabel("right ones not trusted", fontsize=10), fig.supylabel("faulty ones not trusted", fontsize=10))
        entries = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels())}
        fig.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=3, fontsize=10)
    return fig


def _two_lines(title, width=17):
    """A title in at most two lines of about ``width`` letters, so that all panels are alike."""
    words = title.split()
    cut = next((i for i in range(len(words), 0, -1) if len(" ".join(words[:i])) <= width), 1)
    return " ".join(words[:cut]) + "\n" + " ".join(words[cut:])
