"""Figures of the book. Every function returns a matplotlib Figure; nothing is shown or saved.

Figures are 6 inches wide with 11 to 12 point text, so that they stay legible when a phone
scales them down, and have a white ground, so that they read the same in dark mode. Colours
are safe for colour-blind readers: viridis for values, cividis for spreads, a blue-orange map for
signed errors, the Okabe-Ito palette (with differing markers) for lines.
matplotlib is imported inside the functions, pyplot never.
"""

import numpy as np

WIDTH = 6.0  # inches
MISSING = "#d9d9d9"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
STYLE = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 12,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def globe_panel(fields, units="K", spread=None, errors=None, columns=2, label="temperature"):
    """Maps of the whole globe (Mollweide, longitude 0 in the middle) with one shared colour range.

    fields: dict title -> (46, 90), all drawn in one colour range with one bar; NaN is missing
        and light grey. Truth, measurement, samples and mean belong here.
    spread: dict title -> (46, 90) that start at 0, such as a standard deviation; each has its own bar.
    errors: dict title -> (46, 90) signed, each with its own bar, symmetric about 0.
    `label` and `units` name the quantity at the shared bar.
    """
    fields, spread, errors = (_checked_maps(group) for group in (fields, spread or {}, errors or {}))
    if not fields:
        raise ValueError("fields is empty, expected at least one map")
    rows, own = -(-len(fields) // columns), {**spread, **errors}
    own_rows = -(-len(own) // columns)
    height = WIDTH / columns * (0.62 * rows + 0.9 * own_rows) + 0.75
    with _style():
        fig = _figure(height)
        ratios = [0.62 * rows + 1.5 / WIDTH] + ([0.9 * own_rows] if own else [])
        parts = fig.subfigures(len(ratios), 1, height_ratios=ratios, squeeze=False)[:, 0]
        low = min(np.nanmin(f) for f in fields.values())
        high = max(np.nanmax(f) for f in fields.values())
        axes = _globe_axes(parts[0], len(fields), columns)
        for ax, (title, field) in zip(axes, fields.items()):
            image = _draw_globe(ax, field, title, _sequential("viridis"), low, high)
        _bar(parts[0], image, axes, f"{label} ({units})", aspect=34, shrink=0.8)
        if own:
            axes = _globe_axes(parts[1], len(own), columns)
            for ax, (title, field) in zip(axes, own.items()):
                top = np.nanmax(np.abs(field))
                if title in errors:
                    image = _draw_globe(ax, field, title, _diverging(), -top, top)
                else:
                    image = _draw_globe(ax, field, title, _sequential("cividis"), 0, top)
                _bar(parts[1], image, [ax], units, aspect=18, shrink=0.85)
    return fig


def imputation_globe(x0, measurement, samples, n_shown=3, when=""):
    """Truth, measurement, samples and their mean in one colour range, then the standard deviation of the samples and mean - truth, in K.

    x0 (46, 90) and samples (n, 46, 90) in [0, 1]; measurement: one Measurement with its mask; ``when`` names the month.
    """
    from aps_core.data.temperature import T_SPAN, to_kelvin

    samples = np.asarray(samples, float)
    if samples.ndim != 3 or len(samples) < max(2, n_shown):
        raise ValueError(f"samples has shape {samples.shape}, expected (n, 46, 90) with n >= {max(2, n_shown)}")
    mean = samples.mean(axis=0)
    fields = {f"truth{when and ', ' + when}": to_kelvin(x0)}
    seen = np.where(np.asarray(measurement.mask) > 0, np.asarray(measurement.y), np.nan)
    fields["measurement (missing: grey)"] = to_kelvin(seen)
    fields |= {f"sample {i + 1}": to_kelvin(sample) for i, sample in enumerate(samples[:n_shown])}
    fields[f"mean of {len(samples)}"] = to_kelvin(mean)
    spread = {"standard deviation": T_SPAN * samples.std(axis=0, ddof=1)}
    return globe_panel(fields, spread=spread, errors={"mean − truth": T_SPAN * (mean - np.asarray(x0))})


def image_grid(images, columns=None, value_range=(0.0, 1.0), label=None):
    """Grey images in a grid, one row per entry, all in one grey range.

    images: dict row name -> (n, H, W); NaN is missing and drawn light blue. Rows may be shorter than others.
    columns: optional titles of the columns. `label` adds a grey bar with that text.
    """
    rows = {name: np.asarray(row, float) for name, row in images.items()}
    if not rows or any(row.ndim != 3 or len(row) == 0 for row in rows.values()):
        raise ValueError(f"images has shapes {[r.shape for r in rows.values()]}, expected (n, H, W) in every row")
    width = max(len(row) for row in rows.values())
    longest = max(max(len(line) for line in name.split("\n")) for name in rows)
    left = 0.02 + 0.0135 * longest
    cell = WIDTH * (1 - left) / width
    shape = next(iter(rows.values())).shape
    with _style():
        fig = _figure(cell * shape[1] / shape[2] * len(rows) + 0.35 * bool(columns) + 0.75 * bool(label))
        axes = fig.subplots(len(rows), width, squeeze=False)
        gray = _sequential("gray", missing="#9ecae1")
        for line, (name, row) in zip(axes, rows.items()):
            for ax in line:
                ax.set_xticks([]), ax.set_yticks([])
                ax.spines[:].set_visible(False)
            for ax, image in zip(line, row):
                mappable = ax.imshow(image, cmap=gray, vmin=value_range[0], vmax=value_range[1], interpolation="nearest")
            line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6)
        for ax, title in zip(axes[0], columns or ()):
            ax.set_title(title)
        fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
        if label:
            _bar(fig, mappable, axes, label, aspect=34, shrink=0.8)
    return fig


def covariance_panel(covariances, columns=2, label="covariance"):
    """Covariance matrices (d, d), dict title -> matrix, in one range symmetric about 0 with one bar."""
    matrices = {title: np.asarray(matrix, float) for title, matrix in covariances.items()}
    if not matrices or any(m.ndim != 2 or m.shape[0] != m.shape[1] for m in matrices.values()):
        raise ValueError(f"covariances has shapes {[m.shape for m in matrices.values()]}, expected (d, d)")
    columns = min(columns, len(matrices))
    rows = -(-len(matrices) // columns)
    top = max(np.abs(matrix).max() for matrix in matrices.values())
    with _style():
        fig = _figure((WIDTH / columns + 0.3) * rows + 0.6)
        axes = fig.subplots(rows, columns, squeeze=False).ravel()
        for ax in axes[len(matrices) :]:
            ax.set_visible(False)
        for ax, (title, matrix) in zip(axes, matrices.items()):
            image = ax.imshow(matrix, cmap=_diverging(), vmin=-top, vmax=top, interpolation="nearest", rasterized=True)
            ax.set_title(title)
            ax.set_xticks([]), ax.set_yticks([])
            ax.spines[:].set_visible(True)
        _bar(fig, image, axes[: len(matrices)], label, aspect=34, shrink=0.8)
    return fig


def kl_curves(curves, threshold=None, ylabel="KL(q ‖ p) (nats per dimension)", xlabel="training step", log_steps=False):
    """Divergence over training, logarithmic upwards.

    curves: dict name -> (steps, kl) or (steps, kl, standard error); values that are not positive are left out.
    threshold: dashed grey line at this value. log_steps: also the steps, from 10 on, for runs of very different length.
    """
    if not curves:
        raise ValueError("curves is empty, expected at least one")
    with _style():
        fig = _figure(4.2)
        ax = fig.subplots()
        for i, (name, (steps, kl, *error)) in enumerate(curves.items()):
            steps, kl = np.asarray(steps, float), np.asarray(kl, float)
            kl = np.where(kl > 0, kl, np.nan)
            ax.plot(steps, kl, label=name, color=_colour(i), ls=DASHES[i % len(DASHES)], **_marks(i, len(steps)))
            if error:
                low = np.maximum(kl - np.asarray(error[0]), 1e-3 * kl)
                ax.fill_between(steps, low, kl + np.asarray(error[0]), color=_colour(i), alpha=0.2, lw=0)
        ax.set_yscale("log")
        if log_steps:
            ax.set_xscale("symlog", linthresh=10, linscale=0.4)
            ax.set_xlim(left=-1.5)  # room for the mark at zero, no negative decades
        if threshold is not None:
            ax.axhline(threshold, color="#555555", ls=(0, (2, 2)), lw=1.5, label=f"target {threshold:g}")
        ax.set_xlabel(xlabel), ax.set_ylabel(ylabel)
        ax.grid(alpha=0.3)
        _legend_above(fig, ax)
    return fig


def coverage_plot(results, levels, groups, tolerance=None):
    """Empirical coverage of central intervals against their nominal levels, group by group.

    results: dict method -> (coverage, standard errors or None), arrays (len(groups), len(levels)) of fractions.
    groups: names along the axis, such as "all", "band 1", ... A grey band of +- tolerance
    lies about each nominal level; bars are two standard errors.
    """
    levels = np.atleast_1d(np.asarray(levels, float))
    for name, (value, _) in results.items():
        if np.shape(value) != (len(groups), len(levels)):
            raise ValueError(f"coverage of {name!r} has shape {np.shape(value)}, expected {(len(groups), len(levels))}")
    with _style():
        fig = _figure(4.4)
        ax = fig.subplots()
        x = np.arange(len(groups))
        step = 0.6 / max(len(results), 1)
        for level in levels:
            ax.axhline(100 * level, color="#555555", lw=1.2, ls=(0, (4, 2)), zorder=1)
            if tolerance:
                ax.axhspan(100 * (level - tolerance), 100 * (level + tolerance), color="#000000", alpha=0.08, lw=0)
        for i, (name, (value, error)) in enumerate(results.items()):
            at = x + (i - (len(results) - 1) / 2) * step
            for j in range(len(levels)):
                bars = None if error is None else 200 * np.asarray(error, float)[:, j]
                ax.errorbar(at, 100 * np.asarray(value)[:, j], yerr=bars, color=_colour(i), marker=MARKERS[i % len(MARKERS)],
                            ms=7, ls="none", capsize=3, lw=1.5, label=name if j == 0 else None, zorder=3)  # fmt: skip
        ax.set_xticks(x, groups)
        ax.set_xlim(-0.6, len(groups) - 0.4)
        ax.set_ylim(0, 100)
        ax.set_yticks(np.unique(np.concatenate([[0, 25, 75, 100], np.round(100 * levels, 1)])))
        ax.set_ylabel("truth inside the interval (%)")
        _legend_above(fig, ax)
    return fig


def eigen_trap_plot(curves, v_min=None, xlabel="prior eigenvalue", ylabel="posterior variance, learned / exact"):
    """Ratio of learned to exact posterior variance against the prior eigenvalue, both logarithmic.

    curves: dict name -> (eigenvalues, ratio) or (eigenvalues, ratio, standard error); 1 is exact. `v_min`, a number or a
    dict name -> number, marks the variance below which a bound cut off at t_min is blind.
    """
    if not curves:
        raise ValueError("curves is empty, expected at least one")
    marks = v_min if isinstance(v_min, dict) else ({} if v_min is None else {"v_min": v_min})
    with _style():
        fig = _figure(4.2)
        ax = fig.subplots()
        ax.axhline(1, color="#555555", lw=1.2, ls=(0, (4, 2)), zorder=1)
        for i, (name, (eigenvalue, ratio, *error)) in enumerate(curves.items()):
            bars = np.asarray(error[0], float) if error else None
            ax.errorbar(eigenvalue, ratio, yerr=bars, label=name, color=_colour(i), ls=DASHES[i % len(DASHES)],
                        capsize=2, elinewidth=1, **_marks(i, len(eigenvalue)))  # fmt: skip
        for name, value in marks.items():
            ax.axvline(value, color="#555555", lw=1.2, ls=":", zorder=1)
            ax.annotate(name, (value, 1), xycoords=("data", "axes fraction"), xytext=(4, -2), textcoords="offset points",
                        va="top", color="#333333")  # fmt: skip
        ax.set_xscale("log"), ax.set_yscale("log")
        _plain_ticks(ax.yaxis)
        ax.set_xlabel(xlabel), ax.set_ylabel(ylabel)
        ax.grid(alpha=0.3)
        _legend_above(fig, ax)
    return fig


def _style():
    """The project's rcParams, for the duration of a `with`."""
    import matplotlib

    return matplotlib.rc_context(STYLE)


def _figure(height):
    """White Figure of the common width, without pyplot: nothing is registered, nothing pops up."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")


def _sequential(name, missing=MISSING):
    """A named colour map that draws NaN in `missing`."""
    import matplotlib

    return matplotlib.colormaps[name].with_extremes(bad=missing)


def _diverging():
    """Blue - white - orange, distinguishable with every common colour deficiency; NaN light grey."""
    from matplotlib.colors import LinearSegmentedColormap

    stops = ["#08306b", "#2171b5", "#9ecae1", "#ffffff", "#fdae6b", "#d94801", "#7f2704"]
    return LinearSegmentedColormap.from_list("blue_orange", stops).with_extremes(bad=MISSING)


def _checked_maps(group):
    """Float copies of dict title -> (46, 90)."""
    from aps_core.geometry import SHAPE

    maps = {title: np.array(field, float) for title, field in group.items()}
    for title, field in maps.items():
        if field.shape != SHAPE:
            raise ValueError(f"map {title!r} has shape {field.shape}, expected {SHAPE}")
        if np.isnan(field).all():
            raise ValueError(f"map {title!r} has no finite value")
    return maps


def _globe_axes(part, n, columns):
    """n Mollweide axes in rows of `columns` inside a subfigure."""
    rows = -(-n // columns)
    grid = part.add_gridspec(rows, columns)
    return [part.add_subplot(grid[i // columns, i % columns], projection="mollweide") for i in range(n)]


def _draw_globe(ax, field, title, cmap, low, high):
    """Cells of one map as a rasterized mesh; the column at 180 degrees is drawn half on each side."""
    from aps_core.geometry import latitude_edges

    half = field.shape[1] // 2
    cells = np.concatenate([field[:, half:], field[:, : half + 1]], axis=1)
    edges = np.deg2rad(np.concatenate([[-180.0], np.arange(-178.0, 180.0, 4.0), [180.0]]))
    mesh = ax.pcolormesh(edges, np.deg2rad(latitude_edges()), np.ma.masked_invalid(cells), cmap=cmap, vmin=low, vmax=high,
                         rasterized=True)  # fmt: skip
    ax.set_title(title, pad=4)
    ax.set_xticks(np.deg2rad([-120, -60, 0, 60, 120]), [])
    ax.set_yticks(np.deg2rad([-60, -30, 0, 30, 60]), [])
    ax.grid(color="#ffffff", lw=0.4, alpha=0.6)
    ax.spines["geo"].set(edgecolor="#555555", linewidth=0.8)
    return mesh


def _bar(figure, mappable, axes, label, aspect, shrink):
    """Horizontal colour bar under `axes`."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(5 if aspect > 20 else 4)
    bar = figure.colorbar(mappable, ax=axes, location="bottom", aspect=aspect, shrink=shrink, pad=0.03, ticks=ticks)
    bar.set_label(label)
    bar.outline.set_linewidth(0.6)
    return bar


def _colour(i):
    return PALETTE[i % len(PALETTE)]


def _marks(i, n):
    """Marker of line i, on about eight of its n points."""
    return {"marker": MARKERS[i % len(MARKERS)], "ms": 6, "markevery": max(1, n // 8)}


def _legend_above(fig, ax):
    """Legend over the axes, where it can hide no data."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        columns = 1 if max(map(len, labels)) > 26 else 2
        fig.legend(handles, labels, loc="outside upper center", ncols=min(columns, len(labels)))


def _plain_ticks(axis):
    """Numbers such as 0.5, 1, 2 on a logarithmic axis in the place of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
