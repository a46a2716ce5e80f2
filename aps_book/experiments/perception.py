"""The chapter on how real single samples of faces look: which pictures are compared, and what the record keeps of them."""

from pathlib import Path

import jax
import numpy as np

from aps_book import perception, record
from aps_book.experiments import faces as faces_study
from aps_book.experiments import faces_rivals, pictured
from aps_book.experiments.measured import measure
from aps_book.perception import alexnet, inception
from aps_book.record import exact, verdicts, word
from aps_book.record.labels import in_a_sentence, label_of
from aps_core import data
from aps_core.data import celeba, faces
from aps_core.flows.wrappers import tempered
from aps_core.metrics import calibration, quality
from aps_core.tasks import load_task

TASKS = faces_study.TASKS
ITERATIVE = ("dps", "ddrm", "pigdm")
REFERENCE = "aps_n1"  # what the other rows are held against
FLOW = label_of("faces-denoise-held-out")  # those of the other tasks are trained in the same way
GROUPS = 8  # parts of the pictures, left out in turn for the standard error of FID


def rows(n_samples, iterative=ITERATIVE):
    """Labels by row: those that are one sample of each face, then those that are none."""
    return {
        "gaussian_n1": "Gaussian closed form, N = 1",
        "aps_n1": f"{FLOW}, N = 1",
        **{row: faces_rivals.LABELS[row] for row in iterative},
        "aps_n128": f"{FLOW}, N = {n_samples}",
        "measured": "the measurement itself",
        "truth": "the true faces",
    }


def split(dataset, n, n_reference):
    """Positions in ``dataset`` of the faces that are measured (n,), as ``cases.measure`` takes them, and of reference
    faces (n_reference,), spread evenly over the others. Raises ValueError where there are not enough.
    """
    total = len(dataset)
    if n + n_reference > total:
        raise ValueError(
            f"n_faces + n_reference = {n + n_reference}: expected at most {total}, the faces of {dataset.name}/{dataset.split}"
        )
    chosen = np.round(np.linspace(0, total - 1, n)).astype(int)
    others = np.setdiff1d(np.arange(total), chosen)
    return chosen, others[np.round(np.linspace(0, len(others) - 1, n_reference)).astype(int)]


def pictures(name, dataset, n, n_samples, iterative=(), temperatures=(), seed=0, at_once=32, progress=False):
    """What is compared for the task ``name`` of TASKS and ``n`` faces of ``dataset``: pictures (n, 32, 32, 3) by row,
    unclipped; the share of pixels inside the 90 % intervals of APS (n,) by row; and the flow's card.

    Rows: one sample of each face, with the noise of APS also times each of ``temperatures`` ("aps_t050" for 0.5, from
    the same noise); the mean of ``n_samples`` of APS ("aps_n128"); the measurement, enlarged by repetition; the truth.
    iterative: rows of ``faces_rivals.rivals``.
    """
    task = load_task(f"faces-{name}")
    case = measure(task, dataset, n, seed)
    samplers = faces_study.closed_and_trained(task)
    key = jax.random.key(seed + 1)
    found = {"gaussian_n1": faces_rivals.sample(samplers["gaussian"], key, case.measurements, 1, at_once)[0][:, 0]}
    found["aps_n1"], found["aps_n128"], ours = _summary(samplers["aps"], key, case, n_samples, at_once)
    inside = {"aps_n1": ours}
    for row, temperature in zip(cooler_rows(temperatures), temperatures, strict=True):
        found[row], _, inside[row] = _summary(tempered(samplers["aps"], temperature), key, case, n_samples, at_once)
    for row, sampler in faces_rivals.rivals(name, task, iterative).items():
        found[row] = faces_rivals.sample(sampler, jax.random.key(seed + 2), case.measurements, 1, at_once, progress)[0][
            :, 0
        ]
    found |= {"measured": _enlarged(np.asarray(case.measurements.y), case.x0.shape[1]), "truth": case.x0}
    return found, inside, samplers["aps"].card


def cooler_rows(temperatures):
    """Labels by row of samples of APS with their noise times each of ``temperatures``."""
    return {f"aps_t{word(t, 100, digits=3)}": f"flow, N = 1, noise × {exact(t)}" for t in temperatures}


def _summary(sampler, key, case, n_samples, at_once):
    """First and mean of ``n_samples`` samples of each measurement of a Case and the share of pixels inside their 90 %
    intervals, a few at a time.
    """
    parts = []
    for i in range(0, len(case.x0), at_once):
        few = jax.tree.map(lambda a, i=i: a[i : i + at_once], case.measurements)
        samples = np.asarray(sampler.sample(jax.random.fold_in(key, i), few, n_samples))
        inside = [calibration.coverage(s, x, (0.9,))[0] for s, x in zip(samples, case.x0[i : i + at_once], strict=True)]
        parts.append((samples[:, 0], samples.mean(axis=1), np.array(inside)))
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _enlarged(y, size):
    """Measurements (n, h, w, 3) as pictures of ``size`` pixels: each pixel repeated."""
    return y.repeat(size // y.shape[1], axis=1).repeat(size // y.shape[2], axis=2)


def as_files(images):
    """Pictures clipped to [0, 1] and rounded to 8 bits, float32 in [0, 1]: what FID, KID and LPIPS are shown."""
    return inception.eight_bit(images).astype(np.float32) / 255


def store_pixels(run, name, found):
    """Keep PSNR in dB, unclipped, and the share of values outside [0, 1] in per cent, of every row but the truth:
    ``name.row.psnr``, ``.outside``.
    """
    for row in found.keys() - {"truth"}:
        run.mean(f"{name}.{row}.psnr", quality.psnr(found[row], found["truth"]), "dB")
        outside = (found[row] < 0) | (found[row] > 1)
        run.mean(f"{name}.{row}.outside", 100 * outside.reshape(len(outside), -1).mean(axis=1), "%")


def store_inside(run, name, inside):
    """Keep the share of pixels inside the 90 % intervals in per cent (row -> (n,), as ``pictures`` gives it):
    ``name.row.inside_90``.
    """
    for row, values in inside.items():
        run.mean(f"{name}.{row}.inside_90", 100 * values, "%")


def store_lpips(run, name, found, params=None):
    """Keep LPIPS to the truth of every other row, ``name.row.lpips``, and its difference to APS by face,
    ``name_paired.row.lpips``.

    Raises FileNotFoundError without the weights, unless ``params`` stand in their place.
    """
    params = alexnet.load() if params is None else params
    truth = as_files(found["truth"])
    values = {row: perception.lpips(as_files(found[row]), truth, params=params) for row in found.keys() - {"truth"}}
    for row, of_row in values.items():
        run.mean(f"{name}.{row}.lpips", of_row)
        if row != REFERENCE:
            run.mean(f"{name}_paired.{row}.lpips", of_row - values[REFERENCE])


def store_distances(run, name, features, reference):
    """Keep FID and KID (times 1000) of rows of ``features`` (row -> (n, d)) to those of ``reference`` (m, d) as
    ``name.row.fid`` and ``.kid``, and their differences to APS, paired by face, under ``name_paired``.
    """
    moments = perception.Moments.of(reference)
    fid = {row: _frechet(x, moments) for row, x in features.items()}
    kid = {row: perception.kernel_distance(x, reference) for row, x in features.items()}
    for row in features:
        n = len(features[row])
        _store_pair(run, f"{name}.{row}", fid[row], kid[row], n)
        if row != REFERENCE:
            _store_pair(run, f"{name}_paired.{row}", fid[row] - fid[REFERENCE], kid[row] - kid[REFERENCE], n)


def _frechet(features, moments):
    """FID, followed by its values with a part left out."""
    return np.append(
        perception.frechet_distance(features, moments), perception.frechet_without(features, moments, GROUPS)
    )


def _store_pair(run, key, fid, kid, n):
    """FID, its value followed by those with a part left out, and KID; n: of the pictures."""
    run.number(f"{key}.fid", fid[0], (GROUPS - 1) / np.sqrt(GROUPS) * fid[1:].std(ddof=1), n=n)
    run.number(f"{key}.kid", 1000 * kid.value, 1000 * kid.se, n=n)


def store_sets(run, found, dataset, n_reference, progress=False):
    """Inception's features of the pictures of every task (``found``, task -> row -> pictures) and of ``n_reference``
    other faces of ``dataset``, and what ``store_distances`` keeps of them. Raises as ``perception.inception_features``
    and ``split``.
    """
    truth = next(iter(found.values()))["truth"]
    others = dataset.values[split(dataset, len(truth), n_reference)[1]]
    reference, of_truth = (perception.inception_features(x, progress=progress) for x in (others, truth))
    for name, of_task in found.items():
        features = {
            row: perception.inception_features(x, progress=progress) for row, x in of_task.items() if row != "truth"
        }
        store_distances(run, name, {**features, "truth": of_truth}, reference)


def load_faces():
    """The test faces: CelebA where it is found, else prior-faces."""
    return data.load("faces", "test")


def known(run, name, labels):
    """Those of ``labels`` (row -> label) of which this run or the full one has a number for the task ``name``."""
    full = record.full_run(run.notebook) or {"numbers": {}}
    stored = {key.rpartition(".")[0] for key in (*run.as_dict()["numbers"], *full["numbers"])}
    return {row: label for row, label in labels.items() if f"{name}.{row}" in stored}


def shown(found, dataset, n_samples, n=3, seed=0):
    """``found`` (task -> row -> pictures of ``dataset``) where they may be shown, else the same rows without rivals for
    ``n`` draws of the prior (see ``pictured``).
    """
    if pictured.allowed(dataset):
        return found
    return {name: pictures(name, pictured.shown(dataset), max(2, n), n_samples, seed=seed)[0] for name in found}


def columns(found, labels, n=3):
    """``n`` faces for ``images.face_columns``, {title: (n, 32, 32, 3)} for ``labels`` (row -> title): the i-th
    face, of the tasks in turn.
    """
    of_task = list(found.values())
    n = min(n, len(of_task[0]["truth"]))
    return {title: np.stack([of_task[i % len(of_task)][row][i] for i in range(n)]) for row, title in labels.items()}


def measure_draws(n_faces=256, n_reference=2048, directory="weights/results"):
    """Keep FID and KID of the embedded draws of the prior (prior-faces, all of them) to the reference faces of a run
    with ``n_faces``, in a record of its own, ``perception.draws.json``, which ``store_draws`` reads. Needs CelebA;
    raises as ``perception.inception_features`` and ``split``.
    """
    dataset = celeba.load("test")
    run = record.Run("perception.draws", {"n_faces": n_faces, "n_reference": n_reference}, Path(directory))
    draws = np.concatenate([faces.prior_faces(part).values for part in faces.SPLITS])
    others = dataset.values[split(dataset, n_faces, n_reference)[1]]
    features, reference = perception.inception_features(draws), perception.inception_features(others)
    _store_pair(
        run,
        "prior",
        _frechet(features, perception.Moments.of(reference)),
        perception.kernel_distance(features, reference),
        len(draws),
    )
    run.number("prior.draws", len(draws))
    run.uses_data(dataset, faces.prior_faces("test"))
    run.finish()


def store_draws(run):
    """Keep what ``measure_draws`` found, as ``prior.fid``, ``prior.kid`` and ``prior.draws``; returns the levels for
    ``plotting_images.trade_off``, none without such a record."""
    found = record.full_run("perception.draws")
    if found is None:
        return {}
    for key, number in found["numbers"].items():
        run.number(key, number["value"], number["se"], n=number.get("n"))
    return {"draws of the prior": found["numbers"]["prior.kid"]["value"]}


SETS = {"fid": ("FID", ".1f"), "kid": ("1000 KID", ".1f")}  # of the set of pictures
EACH = {"lpips": ("LPIPS", ".4f"), "psnr": ("PSNR [dB]", ".2f")}  # of each picture to its truth
SHORT = {"gaussian_n1": "closed form", **faces_rivals.LABELS, "aps_n128": "mean of the flow", "truth": "true faces"}


def differences(numbers, rows=("gaussian_n1", *ITERATIVE, "aps_n128", "truth")):
    """A Markdown table of what ``rows`` have above one sample of APS, from a record's ``numbers``: FID, KID and LPIPS,
    paired by face, with standard errors; those beyond two of them are bold.
    """
    columns = {**SETS, "lpips": EACH["lpips"]}
    lines = [
        "| task | row | " + " | ".join(label for label, _ in columns.values()) + " |",
        "| --- | --- |" + " --- |" * len(columns),
    ]
    for name, title in TASKS.items():
        for row in rows:
            cells = [
                _difference(numbers.get(f"{name}_paired.{row}.{measure}"), form)
                for measure, (_, form) in columns.items()
            ]
            if any(cells):
                lines.append(f"| {title} | {SHORT[row]} | " + " | ".join(cell or "–" for cell in cells) + " |")
    return "\n".join(lines)


def _difference(number, form):
    if number is None:
        return None
    text = f"{number['value']:+{form}} ± {number['se']:{form}}"
    return f"**{text}**" if abs(number["value"]) > 2 * number["se"] else text


def verdict(numbers, row, measures=("fid", "kid")):
    """A sentence: for which tasks one sample of the flow lies below ``row`` by each of ``measures``, for which above
    it, by at least two paired standard errors, and for which the difference is not resolved.
    """
    parts = []
    for kind in measures:
        found = {title: numbers.get(f"{name}_paired.{row}.{kind}") for name, title in TASKS.items()}
        said = {}
        for title, number in found.items():
            if number is not None:  # the difference is that of the row to the flow, and less is better
                said.setdefault(
                    {"above": "below", "below": "above"}.get(w := verdicts.word(number, None), w), []
                ).append(title)
        where = [f"{w} for {' and '.join(said[w])}" for w in ("below", "above", "not resolved") if w in said]
        parts.append(f"by {(SETS | EACH)[kind][0].removeprefix('1000 ')} {', '.join(where) or 'not run'}")
    of = SHORT[row].replace("closed", "the closed")
    return f"Single samples of {in_a_sentence(FLOW)} against those of {of}: " + "; ".join(parts) + "."


def trade_off(shown, labels, measure="kid"):
    """Panels, floors and paths for ``charts.trade_off`` from a record: PSNR against ``measure`` of the rows ``labels``,
    ``measure`` of the true faces, and ``cooling``; empty where there is none.
    """
    numbers, panels, floors = shown["numbers"], {}, {}
    for name, title in TASKS.items():
        rows = {
            label: (numbers.get(f"{name}.{row}.psnr"), numbers.get(f"{name}.{row}.{measure}"))
            for row, label in labels.items()
        }
        panel = {label: (x["value"], x["se"], y["value"], y["se"]) for label, (x, y) in rows.items() if x and y}
        if panel:
            panels[title], floors[title] = panel, numbers[f"{name}.truth.{measure}"]["value"]
    paths = cooling(numbers, shown["parameters"].get("temperatures", []), measure) if panels else {}
    return {"panels": panels, "floors": floors, "paths": paths}


def cooling(numbers, temperatures, measure="kid"):
    """Paths for ``plotting_images.trade_off`` from a record's ``numbers``: PSNR and ``measure`` of samples of APS with
    all of their noise, then less.
    """
    keys = ["aps_n1", *cooler_rows(sorted(temperatures, reverse=True))]
    found = {
        title: [tuple(numbers.get(f"{name}.{row}.{what}") for what in ("psnr", measure)) for row in keys]
        for name, title in TASKS.items()
    }
    return {title: [(x["value"], y["value"]) for x, y in path if x and y] for title, path in found.items()}


def enough_cooling(numbers, temperatures, row="dps"):
    """A sentence for each task: the largest of 1 and ``temperatures`` at which the KID of a sample of the flow is less than
    that of ``row`` by two standard errors of the difference, as if the two were independent, with both PSNRs and the
    share of pixels inside the 90 % intervals there.
    """
    said = []
    for name, title in TASKS.items():
        rows = dict(
            zip(
                ("aps_n1", *cooler_rows(sorted(temperatures, reverse=True))),
                (1.0, *sorted(temperatures, reverse=True)),
                strict=True,
            )
        )
        value = lambda key, what: numbers[f"{name}.{key}.{what}"]["value"]  # noqa: B023, E731
        if not all(f"{name}.{key}.kid" in numbers for key in (row, *rows)):
            continue
        other = numbers[f"{name}.{row}.kid"]
        below = [key for key in rows if _resolved_below(numbers[f"{name}.{key}.kid"], other)]
        if not below:
            said.append(f"For {title} at none of these temperatures.")
            continue
        key, given = below[0], "all of its noise" if below[0] == "aps_n1" else f"{rows[below[0]]:g} of its noise"
        said.append(
            f"For {title} with {given}: 1000 KID {value(key, 'kid'):.1f} against {value(row, 'kid'):.1f}, PSNR {value(key, 'psnr'):.2f} against "
            f"{value(row, 'psnr'):.2f} dB, and {value(key, 'inside_90'):.1f} % of the pixels inside its 90 % intervals."
        )
    asked = f"Where is the difference of the KID to one of {SHORT[row]} resolved for a sample of the flow? "
    return asked + " ".join(said) if said else ""


def _resolved_below(number, other):
    """Whether a number is less than another by two standard errors of their difference, as if independent."""
    difference = {"value": number["value"] - other["value"], "se": float(np.hypot(number["se"], other["se"]))}
    return verdicts.word(difference, None) == "below"


if __name__ == "__main__":
    measure_draws()
