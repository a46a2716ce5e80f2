"""Figures of the chapters on the score prior, in the style of ``plotting``."""

import numpy as np

from aps_core.plotting import DASHES, MARKERS, PALETTE, WIDTH, _bar, _diverging, _figure, _legend_above, _plain_ticks, _sequential, _style


def density_panels(rows, truth, window):
    """Densities in the plane, one row of panels for each noise level: filled in the method's colours, the truth as black lines.

    rows: dict row name -> dict method -> (points (n, m, 2), density (n, m)). truth: dict row name -> function of points (..., 2) that gives
    the log density. window: (x1 low, x1 high, x2 low, x2 high). Fills begin at 1/64 of the
    truth's peak and double; lines stand at 1/32, 1/8 and 1/2 of it.
    """
    methods = list(next(iter(rows.values())))
    low1, high1, low2, high2 = window
    axes_of = np.linspace(low1, high1, 200), np.linspace(low2, high2, 200)
    plane = np.stack(np.meshgrid(*axes_of, indexing="ij"), -1)
    cell = WIDTH / len(methods)
    with _style():
        fig = _figure(0.87 * cell * (high2 - low2) / (high1 - low1) * len(rows) + 0.75)
        axes = fig.subplots(len(rows), len(methods), squeeze=False, sharex=True, sharey=True)
        for line, (level, row) in zip(axes, rows.items(), strict=True):
            exact = np.exp(truth[level](plane))
            levels = exact.max() * 2.0 ** np.arange(-6, 0)
            for ax, (method, (points, density)) in zip(line, row.items(), strict=True):
                ax.contourf(points[..., 0], points[..., 1], density, levels=levels, cmap=_sequential("viridis"), extend="max")
                ax.contour(plane[..., 0], plane[..., 1], exact, levels=levels[1::2], colors="#000000", linewidths=0.8)
                ax.set_xlim(low1, high1), ax.set_ylim(low2, high2)
                ax.set_aspect("equal")
                ax.spines[:].set_visible(True)
                ax.set_xticks([]), ax.set_yticks([])
            line[0].set_ylabel(f"{level}\n$x_2$")
        for ax, method in zip(axes[0], methods, strict=True):
            ax.set_title(method)
        for ax in axes[-1]:
            ax.set_xlabel("$x_1$")
        fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    return fig


def setting_curves(curves, chosen, ylabel="KL(q ‖ p) (nats)", xlabel="value of the setting"):
    """A divergence against a sampler's setting, both logarithmic, at two noise levels.

    curves: dict method -> dict level -> (values, divergence); the first level is drawn with a full line, the second dashed. chosen: dict
    method -> the setting in use, drawn as a large open mark on both lines.
    """
    with _style():
        fig = _figure(4.4)
        ax = fig.subplots()
        for i, (method, levels) in enumerate(curves.items()):
            for j, (level, (values, divergence)) in enumerate(levels.items()):
                values, divergence = np.asarray(values, float), np.asarray(divergence, float)
                style = dict(color=PALETTE[i], ls=("-", "--")[j], marker=MARKERS[i], ms=5)
                ax.plot(values, divergence, label=f"{method}, {level}", **style)
                at = np.isclose(values, chosen[method])
                ax.plot(values[at], divergence[at], marker=MARKERS[i], ms=12, mfc="none", mew=1.8, color=PALETTE[i], ls="none")
        ax.set_xscale("log"), ax.set_yscale("log")
        _plain_ticks(ax.yaxis)
        ax.set_xlabel(xlabel), ax.set_ylabel(ylabel)
        ax.grid(alpha=0.3)
        _legend_above(fig, ax)
    return fig


def error_curves(curves, marked, ylabel="mean |error of log q| (nats)", xlabel="NFE (steps times order)"):
    """Error against evaluations, both logarithmic: dict name -> (nfe, error); marked: dict name -> (nfe, error) as large open marks."""
    names = list(dict.fromkeys([*curves, *marked]))
    with _style():
        fig = _figure(4.4)
        ax = fig.subplots()
        for i, name in enumerate(names):
            style = dict(color=PALETTE[i], marker=MARKERS[i])
            label = name
            if name in curves:
                ax.plot(*curves[name], ls=DASHES[i], ms=5, label=label, **style)
                label = None
            if name in marked:
                nfe, error = marked[name]
                ax.plot([nfe], [error], ls="none", ms=12, mfc="none", mew=1.8, label=label, **style)
        ax.set_xscale("log"), ax.set_yscale("log")
        ax.set_xlabel(xlabel), ax.set_ylabel(ylabel)
        ax.grid(alpha=0.3)
        _legend_above(fig, ax)
    return fig


def trace_band(counts, values, exact, formula, image):
    """log p against the number of trace estimators: mean and one standard deviation of ``values`` (len(counts), trials), the exact trace,
    and exact +- ``formula`` (len(counts),); the ``image`` (h, w) is inset."""
    values = np.asarray(values, float)
    if len(values) != len(counts):
        raise ValueError(f"values has {len(values)} rows, expected one for each of the {len(counts)} counts")
    mean, std = values.mean(axis=1), values.std(axis=1, ddof=1)
    with _style():
        fig = _figure(4.2)
        ax = fig.subplots()
        ax.fill_between(counts, mean - std, mean + std, color=PALETTE[0], alpha=0.25, lw=0)
        ax.plot(counts, mean, color=PALETTE[0], marker="o", ms=5, label="mean and standard deviation")
        ax.axhline(exact, color=PALETTE[2], label="exact trace")
        for sign in (-1, 1):
            ax.plot(counts, exact + sign * np.asarray(formula), color="#555555", ls="--", lw=1.3, label="formula" if sign > 0 else None)
        ax.set_xscale("log", base=2)
        ax.set_xticks(counts, [str(c) for c in counts])
        ax.set_xlabel("trace estimators"), ax.set_ylabel("log p (nats)")
        ax.grid(alpha=0.3)
        inset = ax.inset_axes([0.78, 0.68, 0.2, 0.3])
        inset.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        inset.set_xticks([]), inset.set_yticks([])
        inset.spines[:].set_visible(True)
        _legend_above(fig, ax)
    return fig


def gradient_maps(maps, image):
    """Score, mean gradient and its standard deviation as images: dict name -> three arrays of the pixels of ``image``, a row for each."""
    from matplotlib.ticker import MaxNLocator

    shape = np.shape(image)
    rows = {name: [np.reshape(part, shape) for part in parts] for name, parts in maps.items()}
    top = max(np.abs(part).max() for parts in rows.values() for part in parts[:2])
    wide = max(parts[2].max() for parts in rows.values())
    titles = ("score", "mean gradient", "standard deviation")
    with _style():
        fig = _figure(WIDTH / 3 * len(rows) + 1.0)
        axes = fig.subplots(len(rows), 3, squeeze=False)
        for line, (name, parts) in zip(axes, rows.items(), strict=True):
            for ax, part, title in zip(line, parts, titles, strict=True):
                spread = title == titles[2]
                colours = _sequential("cividis") if spread else _diverging()
                mappable = ax.imshow(part, cmap=colours, vmin=0 if spread else -top, vmax=wide if spread else top, interpolation="nearest")
                ax.set_xticks([]), ax.set_yticks([])
                ax.spines[:].set_visible(True)
                if ax in axes[0]:
                    ax.set_title(title)
            if name == list(rows)[-1]:
                _bar(fig, line[0].images[0], axes[:, :2], "per unit of x", 26, 0.85)
                _bar(fig, mappable, axes[:, 2], "per unit of x", 13, 0.85).ax.xaxis.set_major_locator(MaxNLocator(2))
            line[0].set_ylabel(name)
    return fig


def cosine_histogram(distances, xlabel="cosine distance to the score"):
    """Histograms of positive distances on a logarithmic axis: dict name -> (trials,)."""
    together = np.concatenate([np.asarray(d, float) for d in distances.values()])
    if not np.all(together > 0):
        raise ValueError("distances must be positive")
    edges = np.geomspace(together.min() / 1.05, together.max() * 1.05, 25)
    with _style():
        fig = _figure(3.4)
        ax = fig.subplots()
        for i, (name, values) in enumerate(distances.items()):
            ax.hist(values, edges, color=PALETTE[i], alpha=0.75, label=name, hatch=("", "//")[i % 2], edgecolor="white")
        ax.set_xscale("log")
        ax.set_xlabel(xlabel), ax.set_ylabel("trials")
        _legend_above(fig, ax)
    return fig
