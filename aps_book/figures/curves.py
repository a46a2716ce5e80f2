"""Curves: training, quality against cost or a setting, and a formula as lines with what was measured as points."""

import numpy as np

from aps_book.figures.style import (
    PALETTE,
    book_style,
    colour_of,
    dash_of,
    legend_above,
    marker_of,
    marker_style,
    new_figure,
    plain_ticks,
)


def level_plot(curves, least=None):
    """PSNR against the share of missing cells.

    curves: dict label -> (shares in per cent, dB, standard errors); bars are two standard errors. least: dashed grey
    line at this value.
    """
    if not curves:
        raise ValueError("curves is empty, expected at least one")
    with book_style():
        fig = new_figure(4.4)
        ax = fig.subplots()
        for i, (label, (share, value, error)) in enumerate(curves.items()):
            at = np.asarray(share, float) + 0.35 * (i - (len(curves) - 1) / 2)
            ax.errorbar(
                at,
                value,
                yerr=2 * np.asarray(error, float),
                label=label,
                color=colour_of(i),
                marker=marker_of(i),
                ms=7,
                ls=dash_of(i),
                capsize=3,
            )
        if least is not None:
            ax.axhline(least, color="#555555", ls=(0, (2, 2)), lw=1.5, label="least value in the paper")
        ax.set_xlabel("missing cells (%)"), ax.set_ylabel("PSNR (dB)")
        ax.grid(alpha=0.3)
        legend_above(fig, ax)
    return fig


def path_curves(levels, panels, xlabel="noise added to a face"):
    """Curves over ``levels`` (logarithmic), one panel below the other: dict ylabel -> dict prior -> values, logarithmic
    too; a line passes over what is NaN.
    """
    with book_style():
        fig = new_figure(2.7 * len(panels) + 0.5)
        axes = fig.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for ax, (ylabel, curves) in zip(axes, panels.items(), strict=True):
            for i, (prior, values) in enumerate(curves.items()):
                there = np.isfinite(np.asarray(values, float))
                x, y = np.asarray(levels)[there], np.asarray(values, float)[there]
                ax.plot(x, y, color=colour_of(i), ls=dash_of(i), marker=marker_of(i), ms=5, label=prior)
            ax.set_xscale("log"), ax.set_yscale("log")
            ax.set_ylabel(ylabel)
            ax.grid(alpha=0.3)
        axes[-1].set_xlabel(xlabel)
        legend_above(fig, axes[0])
    return fig


def panels(curves, xlabel="seconds of training"):
    """Curves with values of x of their own, one panel below the other: dict ylabel -> dict label -> (x, y), all linear. A
    label has one colour in all panels, and may be missing in some.
    """
    labels = list(dict.fromkeys(label for of_panel in curves.values() for label in of_panel))
    if not labels:
        raise ValueError("curves is empty, expected at least one panel with a curve")
    with book_style():
        fig = new_figure(2.3 * len(curves) + 0.5)
        axes = fig.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
        for ax, (ylabel, of_panel) in zip(axes, curves.items(), strict=True):
            for label, (x, y) in of_panel.items():
                i = labels.index(label)
                ax.plot(x, y, color=colour_of(i), ls=dash_of(i), marker=marker_of(i), ms=5, label=label)
            ax.set_ylabel(ylabel)
            ax.grid(alpha=0.3)
        axes[-1].set_xlabel(xlabel)
        legend_above(fig, max(axes, key=lambda ax: len(ax.get_legend_handles_labels()[1])))
    return fig


def optimization_curves(histories):
    """Loss (nats per pixel, positive) and gradient norm before clipping at every step, both logarithmic: dict label ->
    history of a ``dpi.Fit``.
    """
    with book_style():
        fig = new_figure(5.8)
        upper, lower = fig.subplots(2, 1, sharex=True)
        for i, (label, history) in enumerate(histories.items()):
            style = dict(color=colour_of(i), ls=dash_of(i), lw=1.5)
            steps = np.arange(1, len(history["loss"]) + 1)
            if len(steps) == 1:
                style |= dict(marker=marker_of(i), ms=8)
            upper.plot(steps, history["loss"], label=label, **style)
            lower.plot(steps, history["gradient"], **style)
        for ax, ylabel in ((upper, "loss above its least\n(nats per pixel)"), (lower, "gradient norm")):
            ax.set_yscale("log")
            ax.set_ylabel(ylabel)
            ax.grid(alpha=0.3)
        lower.axhline(1.0, color="#555555", lw=1)
        lower.set_xlabel("step")
        legend_above(fig, upper)
    return fig


def cost_curves(curves, levels=None, xlabel="network evaluations for one sample", ylabel="PSNR (dB)", log_x=True):
    """Quality against cost: ``curves`` dict label -> (x, y, standard error of y); ``levels`` dict label -> y, drawn as
    flat lines.
    """
    with book_style():
        fig = new_figure(4.0)
        ax = fig.subplots()
        for i, (label, (x, y, se)) in enumerate(curves.items()):
            ax.errorbar(
                x, y, yerr=2 * np.asarray(se), color=colour_of(i), marker="osD^v"[i % 5], label=label, capsize=2
            )
        for i, (label, y) in enumerate((levels or {}).items(), len(curves)):
            ax.axhline(y, color=colour_of(i), linestyle=("--", ":", "-.")[i % 3], label=label)
        if log_x:
            ax.set_xscale("log")
        ax.set_xlabel(xlabel), ax.set_ylabel(ylabel)
        legend_above(fig, ax)
    return fig


def kl_curves(curves, threshold=None, ylabel="KL(q ‖ p) (nats per dimension)", xlabel="training step", log_steps=False):
    """Divergence over training, logarithmic upwards.

    curves: dict name -> (steps, kl) or (steps, kl, standard error); values that are not positive are left out.
    threshold: dashed grey line at this value. log_steps: also the steps, from 10 on, for runs of very different length.
    """
    if not curves:
        raise ValueError("curves is empty, expected at least one")
    with book_style():
        fig = new_figure(4.2)
        ax = fig.subplots()
        for i, (name, (steps, kl, *error)) in enumerate(curves.items()):
            steps, kl = np.asarray(steps, float), np.asarray(kl, float)
            kl = np.where(kl > 0, kl, np.nan)
            ax.plot(steps, kl, label=name, color=colour_of(i), ls=dash_of(i), **marker_style(i, len(steps)))
            if error:
                low = np.maximum(kl - np.asarray(error[0]), 1e-3 * kl)
                ax.fill_between(steps, low, kl + np.asarray(error[0]), color=colour_of(i), alpha=0.2, lw=0)
        ax.set_yscale("log")
        if log_steps:
            ax.set_xscale("symlog", linthresh=10, linscale=0.4)
            ax.set_xlim(left=-1.5)  # room for the mark at zero, no negative decades
        if threshold is not None:
            ax.axhline(threshold, color="#555555", ls=(0, (2, 2)), lw=1.5, label=f"target {threshold:g}")
        ax.set_xlabel(xlabel), ax.set_ylabel(ylabel)
        ax.grid(alpha=0.3)
        legend_above(fig, ax)
    return fig


def eigen_trap_plot(curves, v_min=None, xlabel="prior eigenvalue", ylabel="posterior variance, learned / exact"):
    """Ratio of learned to exact posterior variance against the prior eigenvalue, both logarithmic.

    curves: dict name -> (eigenvalues, ratio) or (eigenvalues, ratio, standard error); 1 is exact. `v_min`, a number or
    a dict name -> number, marks the variance below which a bound cut off at t_min is blind.
    """
    if not curves:
        raise ValueError("curves is empty, expected at least one")
    marks = v_min if isinstance(v_min, dict) else ({} if v_min is None else {"v_min": v_min})
    with book_style():
        fig = new_figure(4.2)
        ax = fig.subplots()
        ax.axhline(1, color="#555555", lw=1.2, ls=(0, (4, 2)), zorder=1)
        for i, (name, (eigenvalue, ratio, *error)) in enumerate(curves.items()):
            bars = np.asarray(error[0], float) if error else None
            ax.errorbar(
                eigenvalue,
                ratio,
                yerr=bars,
                label=name,
                color=colour_of(i),
                ls=dash_of(i),
                capsize=2,
                elinewidth=1,
                **marker_style(i, len(eigenvalue)),
            )
        for name, value in marks.items():
            ax.axvline(value, color="#555555", lw=1.2, ls=":", zorder=1)
            ax.annotate(
                name,
                (value, 1),
                xycoords=("data", "axes fraction"),
                xytext=(4, -2),
                textcoords="offset points",
                va="top",
                color="#333333",
            )
        ax.set_xscale("log"), ax.set_yscale("log")
        plain_ticks(ax.yaxis)
        ax.set_xlabel(xlabel), ax.set_ylabel(ylabel)
        ax.grid(alpha=0.3)
        legend_above(fig, ax)
    return fig


def step_size_plot(curves, chosen=None, xlabel="step size ζ", ylabel="variance of the samples / of the posterior"):
    """A ratio against a setting, both logarithmic; 1 is exact. curves: dict name -> (settings, ratio); chosen: dict
    name -> setting.
    """
    if not curves:
        raise ValueError("curves is empty, expected at least one")
    with book_style():
        fig = new_figure(4.2)
        ax = fig.subplots()
        ax.axhline(1, color="#555555", lw=1.2, ls=(0, (4, 2)), zorder=1)
        for i, (name, (setting, ratio)) in enumerate(curves.items()):
            ax.plot(setting, ratio, marker=marker_of(i), ms=6, color=colour_of(i), label=name)
        for i, (name, value) in enumerate((chosen or {}).items()):
            ax.axvline(value, color="#555555", lw=1.2, ls=":", zorder=1)
            ax.annotate(
                name,
                (value, 0 if i % 2 else 1),
                xycoords=("data", "axes fraction"),
                xytext=(4, 4 if i % 2 else -2),
                textcoords="offset points",
                va="bottom" if i % 2 else "top",
                color="#333333",
            )
        ax.set_xscale("log"), ax.set_yscale("log")
        plain_ticks(ax.yaxis)
        ax.set_xlabel(xlabel), ax.set_ylabel(ylabel)
        ax.grid(alpha=0.3)
        legend_above(fig, ax)
    return fig


def setting_curves(curves, chosen, ylabel="KL(q ‖ p) (nats)", xlabel="value of the setting"):
    """A divergence against a sampler's setting, both logarithmic, at two noise levels.

    curves: dict method -> dict level -> (values, divergence); the first level is drawn with a full line, the second
    dashed. chosen: dict method -> the setting in use, drawn as a large open mark on both lines.
    """
    with book_style():
        fig = new_figure(4.4)
        ax = fig.subplots()
        for i, (method, levels) in enumerate(curves.items()):
            for j, (level, (values, divergence)) in enumerate(levels.items()):
                values, divergence = np.asarray(values, float), np.asarray(divergence, float)
                style = dict(color=colour_of(i), ls=("-", "--")[j], marker=marker_of(i), ms=5)
                ax.plot(values, divergence, label=f"{method}, {level}", **style)
                at = np.isclose(values, chosen[method])
                ax.plot(
                    values[at],
                    divergence[at],
                    marker=marker_of(i),
                    ms=12,
                    mfc="none",
                    mew=1.8,
                    color=colour_of(i),
                    ls="none",
                )
        ax.set_xscale("log"), ax.set_yscale("log")
        plain_ticks(ax.yaxis)
        ax.set_xlabel(xlabel), ax.set_ylabel(ylabel)
        ax.grid(alpha=0.3)
        legend_above(fig, ax)
    return fig


def error_curves(curves, marked, ylabel="mean |error of log q| (nats)", xlabel="NFE (steps times order)"):
    """Error against evaluations, both logarithmic: dict name -> (nfe, error); marked: dict name -> (nfe, error) as
    large open marks.
    """
    names = list(dict.fromkeys([*curves, *marked]))
    with book_style():
        fig = new_figure(4.4)
        ax = fig.subplots()
        for i, name in enumerate(names):
            style = dict(color=colour_of(i), marker=marker_of(i))
            label = name
            if name in curves:
                ax.plot(*curves[name], ls=dash_of(i), ms=5, label=label, **style)
                label = None
            if name in marked:
                nfe, error = marked[name]
                ax.plot([nfe], [error], ls="none", ms=12, mfc="none", mew=1.8, label=label, **style)
        ax.set_xscale("log"), ax.set_yscale("log")
        ax.set_xlabel(xlabel), ax.set_ylabel(ylabel)
        ax.grid(alpha=0.3)
        legend_above(fig, ax)
    return fig


def trace_band(counts, values, exact, formula, image):
    """log p against the number of trace estimators: mean and one standard deviation of ``values`` (len(counts),
    trials), the exact trace, and exact +- ``formula`` (len(counts),); the ``image`` (h, w) is inset.
    """
    values = np.asarray(values, float)
    if len(values) != len(counts):
        raise ValueError(f"values has {len(values)} rows, expected one for each of the {len(counts)} counts")
    mean, std = values.mean(axis=1), values.std(axis=1, ddof=1)
    with book_style():
        fig = new_figure(4.2)
        ax = fig.subplots()
        ax.fill_between(counts, mean - std, mean + std, color=PALETTE[0], alpha=0.25, lw=0)
        ax.plot(counts, mean, color=PALETTE[0], marker="o", ms=5, label="mean and standard deviation")
        ax.axhline(exact, color=PALETTE[2], label="exact trace")
        for sign in (-1, 1):
            ax.plot(
                counts,
                exact + sign * np.asarray(formula),
                color="#555555",
                ls="--",
                lw=1.3,
                label="formula" if sign > 0 else None,
            )
        ax.set_xscale("log", base=2)
        ax.set_xticks(counts, [str(c) for c in counts])
        ax.set_xlabel("trace estimators"), ax.set_ylabel("log p (nats)")
        ax.grid(alpha=0.3)
        inset = ax.inset_axes([0.78, 0.68, 0.2, 0.3])
        inset.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        inset.set_xticks([]), inset.set_yticks([])
        inset.spines[:].set_visible(True)
        legend_above(fig, ax)
    return fig


def lines_and_points(lines, points=None, xlabel="", ylabel="", marks=None, log_y=False, log_x=True):
    """``lines`` dict label -> (x, y) and ``points`` dict label -> (x, y) or (x, y, standard error) against x, which is
    logarithmic by default.

    Points whose label is that of a line share its colour and its entry in the legend; bars are two standard errors.
    marks: dict label -> y, drawn as thin horizontal lines. Raises ValueError without a line.
    """
    if not lines:
        raise ValueError("lines is empty, expected at least one")
    with book_style():
        fig = new_figure(4.2)
        ax = fig.subplots()
        labels = list(dict.fromkeys([*lines, *(points or {})]))
        for i, label in enumerate(labels):
            settings = {"color": colour_of(i), "label": label}
            if label in lines:
                ax.plot(*lines[label], ls=dash_of(i), **settings)
                settings["label"] = None
            if label in (points or {}):
                x, y, *error = points[label]
                bars = 2 * np.asarray(error[0], float) if error else None
                ax.errorbar(x, y, yerr=bars, marker=marker_of(i), ls="none", ms=7, capsize=3, lw=1.5, **settings)
        for label, y in (marks or {}).items():
            ax.axhline(y, color="#555555", lw=1.2, ls=(0, (4, 2)), zorder=1)
            ax.annotate(
                label,
                (0, y),
                xycoords=("axes fraction", "data"),
                xytext=(4, -3),
                textcoords="offset points",
                va="top",
                color="#333333",
            )
        if log_x:
            ax.set_xscale("log")
        if log_y:
            ax.set_yscale("log")
        ax.set_xlabel(xlabel), ax.set_ylabel(ylabel)
        ax.grid(alpha=0.3)
        legend_above(fig, ax)
    return fig
