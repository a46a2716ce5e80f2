"""Maps of the whole globe (Mollweide)."""

import numpy as np

from aps_book.figures.style import WIDTH, book_style, colour_bar, diverging, new_figure, sequential


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
    with book_style():
        fig = new_figure(height)
        ratios = [0.62 * rows + 1.5 / WIDTH] + ([0.9 * own_rows] if own else [])
        parts = fig.subfigures(len(ratios), 1, height_ratios=ratios, squeeze=False)[:, 0]
        low = min(np.nanmin(f) for f in fields.values())
        high = max(np.nanmax(f) for f in fields.values())
        axes = _globe_axes(parts[0], len(fields), columns)
        for ax, (title, field) in zip(axes, fields.items()):
            image = _draw_globe(ax, field, title, sequential("viridis"), low, high)
        colour_bar(parts[0], image, axes, f"{label} ({units})", aspect=34, shrink=0.8)
        if own:
            axes = _globe_axes(parts[1], len(own), columns)
            for ax, (title, field) in zip(axes, own.items()):
                top = np.nanmax(np.abs(field))
                if title in errors:
                    image = _draw_globe(ax, field, title, diverging(), -top, top)
                else:
                    image = _draw_globe(ax, field, title, sequential("cividis"), 0, top)
                colour_bar(parts[1], image, [ax], units, aspect=18, shrink=0.85)
    return fig


def imputation_globe(x0, measurement, samples, n_shown=3, when=""):
    """Truth, measurement, samples and their mean in one colour range, then the standard deviation of the samples and
    mean - truth, in K.

    x0 (46, 90), or None where the truth is not known, and samples (n, 46, 90) in [0, 1]; measurement: one Measurement
    with its mask; ``when`` names the month.
    """
    from aps_core.data.temperature import T_SPAN, to_kelvin

    samples = np.asarray(samples, float)
    if samples.ndim != 3 or len(samples) < max(2, n_shown):
        raise ValueError(f"samples has shape {samples.shape}, expected (n, 46, 90) with n >= {max(2, n_shown)}")
    mean = samples.mean(axis=0)
    seen = np.where(np.asarray(measurement.mask) > 0, np.asarray(measurement.y), np.nan)
    if x0 is None:
        fields = {f"measurement{when and ', ' + when} (missing: grey)": to_kelvin(seen)}
    else:
        fields = {f"truth{when and ', ' + when}": to_kelvin(x0), "measurement (missing: grey)": to_kelvin(seen)}
    fields |= {f"sample {i + 1}": to_kelvin(sample) for i, sample in enumerate(samples[:n_shown])}
    fields[f"mean of {len(samples)}"] = to_kelvin(mean)
    spread = {"standard deviation": T_SPAN * samples.std(axis=0, ddof=1)}
    errors = {} if x0 is None else {"mean − truth": T_SPAN * (mean - np.asarray(x0))}
    return globe_panel(fields, spread=spread, errors=errors)


def _checked_maps(group):
    """Float copies of dict title -> (46, 90)."""
    from aps_core.geometry.sphere import SHAPE

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
    from aps_core.geometry.sphere import latitude_edges

    half = field.shape[1] // 2
    cells = np.concatenate([field[:, half:], field[:, : half + 1]], axis=1)
    edges = np.deg2rad(np.concatenate([[-180.0], np.arange(-178.0, 180.0, 4.0), [180.0]]))
    mesh = ax.pcolormesh(
        edges,
        np.deg2rad(latitude_edges()),
        np.ma.masked_invalid(cells),
        cmap=cmap,
        vmin=low,
        vmax=high,
        rasterized=True,
    )
    ax.set_title(title, pad=4)
    ax.set_xticks(np.deg2rad([-120, -60, 0, 60, 120]), [])
    ax.set_yticks(np.deg2rad([-60, -30, 0, 30, 60]), [])
    ax.grid(color="#ffffff", lw=0.4, alpha=0.6)
    ax.spines["geo"].set(edgecolor="#555555", linewidth=0.8)
    return mesh
