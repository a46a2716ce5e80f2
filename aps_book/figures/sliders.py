"""Pictures among which a reader chooses with sliders: maps of the globe and faces, drawn before and put into one page."""

from dataclasses import dataclass

import numpy as np

from aps_book.figures import views
from aps_book.figures.style import diverging, sequential


@dataclass(frozen=True)
class Slider:
    """One slider: what it is called, its values in words, and the one that it starts with."""

    label: str
    values: tuple
    start: int = 0


@dataclass(frozen=True)
class Picture:
    """One place on the sheet.

    title, alt: below it, and for those who cannot see it; "{0}" is the value of the first slider. by: the numbers of the
    sliders that it depends on. images: addresses of ``views.picture`` in an array whose axes are those sliders.
    """

    title: str
    alt: str
    by: tuple
    images: np.ndarray


def slider_view(title, sliders, pictures, bars=(), cell=200, round=False):
    """A page (HTML text) of Pictures that change with Sliders.

    bars: colour bars below, dicts of label, low, high (words) and stops. cell: least width of a picture in pixels; round:
    pictures are ellipses. Raises ValueError where the images of a Picture are not as many as its sliders have values.
    """
    for one in pictures:
        shape = tuple(len(sliders[i].values) for i in one.by)
        if np.shape(one.images) != shape:
            raise ValueError(
                f"images of {one.title!r} have shape {np.shape(one.images)}, expected {shape}, one a value"
            )
    data = {
        "sliders": [{"label": one.label, "values": list(one.values), "start": one.start} for one in sliders],
        "pictures": [
            {"title": one.title, "alt": one.alt, "by": list(one.by), "images": np.ravel(one.images).tolist()}
            for one in pictures
        ],
        "bars": list(bars),
        "cell": cell,
        "round": round,
    }
    return views.page("slide", title, data)


class Scale:
    """A range of values and its colours: pictures and the bar that explains them."""

    def __init__(self, colours, low, high):
        self.colours, self.low, self.high = colours, float(low), float(high)
        self.palette = np.asarray(colours(np.linspace(0, 1, 254)))[:, :3]
        self.palette = np.concatenate(
            [self.palette, [colours.get_bad()[:3], (1, 1, 1)]]
        )  # missing; outside, transparent

    @classmethod
    def of(cls, name, *fields):
        """All values of ``fields`` in a sequential colour map."""
        return cls(sequential(name), min(map(np.nanmin, fields)), max(map(np.nanmax, fields)))

    @classmethod
    def spread(cls, field):
        """From 0."""
        return cls(sequential("cividis"), 0, np.nanmax(field))

    @classmethod
    def signed(cls, field):
        """Symmetric about 0."""
        top = np.nanmax(np.abs(field))
        return cls(diverging(), -top, top)

    def index(self, field):
        """Numbers in the palette, NaN among them."""
        share = (np.asarray(field, float) - self.low) / ((self.high - self.low) or 1.0)
        return np.where(np.isnan(share), 254, np.round(253 * np.clip(np.nan_to_num(share), 0, 1))).astype(np.uint8)

    def picture(self, field):
        """The address of a field (h, w) as a picture."""
        return views.picture((self.index(field), self.palette))

    def globe(self, field, width=288):
        """The address of a field (46, 90) as a map of the whole globe (Mollweide), transparent around it."""
        cells = mollweide(width)
        index = np.append(self.index(field).ravel(), np.uint8(255))
        return views.picture((index[cells], self.palette))

    def bar(self, label, units, form=".1f"):
        """The colour bar."""
        low, high = (f"{value:{form}} {units}".strip().replace("-", "−") for value in (self.low, self.high))
        return {"label": label, "low": low, "high": high, "stops": views.stops(self.colours)}


def mollweide(width):
    """Numbers (width / 2, width) of the cells of the sphere grid that the pixels of a map show, longitude 0 in the middle;
    -1 outside. With sin t = v: latitude asin((2 t + sin 2 t) / pi), longitude pi u / cos t, for (u, v) in [-1, 1]^2.
    """
    from aps_core.geometry.sphere import SHAPE, latitude_edges

    u = (np.arange(width) + 0.5) / width * 2 - 1
    v = 1 - (np.arange(width // 2) + 0.5) / (width // 2) * 2
    t = np.arcsin(v)
    latitude = np.degrees(np.arcsin((2 * t + np.sin(2 * t)) / np.pi))
    longitude = 180 * u[None, :] / np.cos(t)[:, None]
    row = np.clip(np.searchsorted(-latitude_edges(), -latitude) - 1, 0, SHAPE[0] - 1)
    column = np.round(longitude / (360 / SHAPE[1])).astype(int) % SHAPE[1]
    return np.where(np.abs(longitude) <= 180, row[:, None] * SHAPE[1] + column, -1)


def globe_view(title, sliders, fields, spread, error, units="K", label="temperature"):
    """A page of maps that change with sliders, of which the last one chooses the sample.

    fields: dict title -> ((46, 90) maps in an array whose leading axes are the sliders ``by``, by); all of them in one
    range, that of those without gaps; NaN is grey. spread, error: the same, each in a range of its own, from 0 and about
    0.
    """
    whole = [values for values, _ in fields.values() if np.isfinite(values).all()]
    ranges = {
        label: Scale.of("viridis", *whole),
        **{name: Scale.spread(values) for name, (values, _) in spread.items()},
        **{name: Scale.signed(values) for name, (values, _) in error.items()},
    }
    pictures = []
    for name, (values, by) in {**fields, **spread, **error}.items():
        scale, values = ranges.get(name, ranges[label]), np.asarray(values, float)
        drawn = [scale.globe(one) for one in values.reshape(-1, *values.shape[-2:])]
        alt = f"Map of the globe, {name}"
        pictures.append(Picture(name, alt, by, np.array(drawn, object).reshape(values.shape[:-2])))
    bars = [scale.bar(name, units) for name, scale in ranges.items()]
    return slider_view(title, sliders, pictures, bars, cell=270, round=True)


def face_view(title, sliders, faces, spread):
    """A page of small pictures that change with sliders.

    faces: dict title -> (colour pictures (h, w, 3) in [0, 1] in an array whose leading axes are the sliders ``by``, by);
    spread: the same of maps (h, w) in one range of their own, from 0.
    """
    scale, pictures = Scale.spread(np.stack([np.max(values) for values, _ in spread.values()])), []
    for name, (values, by) in {**faces, **spread}.items():
        values, n = np.asarray(values, float), 2 if name in spread else 3
        draw = scale.picture if name in spread else views.picture
        drawn = [draw(one) for one in values.reshape(-1, *values.shape[-n:])]
        pictures.append(Picture(name, f"Face, {name}", by, np.array(drawn, object).reshape(values.shape[:-n])))
    bars = [scale.bar(name, "", ".3f") for name in list(spread)[:1]]
    return slider_view(title, sliders, pictures, bars, cell=140)
