"""Score prior and discrete-flow prior (Feng et al. 2023, App. C): likelihoods, what they say of other images, and
posteriors under both.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from aps_book.experiments import flow_prior  # noqa: F401  its kind of prior becomes known to ``load_prior``
from aps_core import data, operators
from aps_core.data.faces import grey
from aps_core.data.patches import IMAGES, cut, read_grey
from aps_core.metrics import calibration, quality
from aps_core.priors import fast_sampling
from aps_core.priors.ode import log_prob_ode
from aps_core.priors.score_network import dequantized
from aps_core.priors.store import load_prior
from aps_core.tasks.problem import Task

# the surrogate bound, and densities themselves
TERMS = {"score": "control-variate", "flow": "exact", "whitened": "exact"}
LABELS = {"score": "score prior", "flow": "flow", "whitened": "whitened flow"}
ODE_LABELS = {"same": "score prior, faces of the next row", "ode": "score prior, density of its ODE"}
WEIGHTS = {"score": "grey-faces-prior", "flow": "grey-faces-flow", "whitened": "grey-faces-whitened"}
LEVELS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of the noise along a path
LEVEL = 1 / 255  # of 8-bit pixels
LIMIT = 2.0  # of the supplement's rule
SCALES = {"unit": (0.0, 1.0), "signed": (-1.0, 2.0)}  # offset and factor from [0, 1] to each


def faces(n):
    """(``n`` grey test faces (n, 32, 32, 1) float32 in [0, 1], their Dataset): CelebA where it is found, else draws of
    the colour face prior.

    They are spread evenly over the split. Raises ValueError for more than there are.
    """
    dataset = data.load("faces", "test")
    if not 1 <= n <= len(dataset.values):
        raise ValueError(f"n must lie in 1..{len(dataset.values)}, got {n}")
    chosen = np.linspace(0, len(dataset.values) - 1, n).round().astype(int)
    return grey(dataset.values[chosen]), dataset


def about(dataset):
    """What a reader must know of the faces of ``dataset``."""
    if dataset.name == "prior-faces":
        return (
            "They are draws of the colour face prior that comes with this book, in grey: no photographs, and made by a network like that of the "
            "score prior, which favours it. The full run is on photographs of the CelebA test split."
        )
    return "They are photographs that no prior was trained on."


def load_priors():
    """({kind: prior}, [cards]) of the weights of this chapter; errors as in ``weights.load``."""
    loaded = {kind: load_prior(WEIGHTS[kind]) for kind in WEIGHTS}
    return {kind: prior for kind, (prior, _) in loaded.items()}, [card for _, card in loaded.values()]


def tasks(prior, denoise_sigma=0.1, deblur_sigma=0.01, blur_std=1.5):
    """Denoising and deblurring of grey faces under ``prior``: {"denoise": Task, "deblur": Task}."""
    shape = tuple(prior.shape)

    def task(name, operator, sigma):
        return Task(operator, sigma, prior, np.zeros((1, *shape), np.float32), name=f"grey-faces-{name}")

    blur = operators.GaussianBlur(shape, blur_std)
    return {
        "denoise": task("denoise", operators.Identity(shape), denoise_sigma),
        "deblur": task("deblur", blur, deblur_sigma),
    }


def bits(log_prob, dim):
    """Bits per entry of 8-bit images from the log density (nats) of dequantized ones in [0, 1]: an upper bound of the
    code length.
    """
    return -np.asarray(log_prob, np.float64) / dim / np.log(2) + np.log2(1 / LEVEL)


def log_densities(prior, key, images, n_times=64):
    """log p of ``images`` (n, *shape), (n,) in nats: that of the flow, or the bound of a diffusion prior from
    ``n_times`` times.
    """
    keys = jax.random.split(key, len(images))
    return np.array(
        [_log_density(prior, k, x, n_times) for k, x in zip(keys, jnp.asarray(images, jnp.float32), strict=True)],
        np.float64,
    )


@partial(jax.jit, static_argnames="n_times")
def _log_density(prior, key, x, n_times):
    return prior.elbo(key, x, n_times)


@partial(jax.jit, static_argnames="n_times")
def _gradient_norm(prior, key, x, n_times):
    value, gradient = jax.value_and_grad(lambda x: prior.elbo(key, x, n_times))(x)
    return value, jnp.linalg.norm(gradient)


def gradient_norms(prior, key, images, n_times=64):
    """log p (nats) and |grad log p| per unit of x of ``images`` (n, *shape), each (n,): of what ``log_densities``
    evaluates.
    """
    keys = jax.random.split(key, len(images))
    found = [_gradient_norm(prior, k, x, n_times) for k, x in zip(keys, jnp.asarray(images, jnp.float32), strict=True)]
    return tuple(np.array(column, np.float64) for column in zip(*found, strict=True))


def ode_log_densities(prior, key, images, n_probes=16, tolerance=1e-3):
    """log p of ``images`` (n, *shape) by the probability-flow ODE of a diffusion prior, (n,) in nats, its divergence
    from ``n_probes`` probes.
    """

    def one(args):
        x, key = args
        settings = dict(
            divergence="rademacher", n_probes=n_probes, rtol=tolerance, atol=tolerance, adjoint="direct", max_steps=256
        )
        return log_prob_ode(prior, x, key, **settings).log_prob

    return np.asarray(
        jax.jit(lambda x, k: jax.lax.map(one, (x, k)))(jnp.asarray(images), jax.random.split(key, len(images))),
        np.float64,
    )


def store_likelihoods(run, priors, key, held_out, n_ode=0, n_times=64):
    """Store bits per pixel of ``held_out`` (n, h, w, 1), dequantized, and the gain over the Gaussian in nats per pixel,
    for each prior.

    As ``held_out.<kind>.bits`` and ``.gain``; with ``n_ode`` those of the ODE's density of the first faces,
    ``held_out.ode``, beside the bound of the same, ``held_out.same``. ``parameters.<kind>``: numbers that were trained.
    """
    k_level, k_density, k_ode = jax.random.split(key, 3)
    x = dequantized(k_level, jnp.asarray(held_out), LEVEL)
    gaussian = np.asarray(jax.vmap(priors["score"].gaussian.log_prob)(x), np.float64)
    found = {
        "gaussian": gaussian,
        **{kind: log_densities(prior, k_density, x, n_times) for kind, prior in priors.items()},
    }
    if n_ode:
        found["ode"], found["same"] = ode_log_densities(priors["score"], k_ode, x[:n_ode]), found["score"][:n_ode]
    for kind, prior in priors.items():
        run.number(f"parameters.{kind}", sum(leaf.size for leaf in jax.tree.leaves(prior.params)))
    dim = priors["score"].dim
    for kind, values in found.items():
        run.mean(f"held_out.{kind}.bits", bits(values, dim))
        if kind != "gaussian":
            run.mean(f"held_out.{kind}.gain", (values - gaussian[: len(values)]) / dim)


def stands_on():
    """Which parameter says on how many held-out faces each row of their table stands."""
    return {"gaussian": "n_held_out", **dict.fromkeys(LABELS, "n_held_out"), **dict.fromkeys(ODE_LABELS, "n_ode")}


def prior_draws(priors, key, n, n_steps=12):
    """n draws (n, *shape) of each of the priors {kind: prior}; a diffusion prior is drawn with ``n_steps`` evaluations."""

    def of(prior):
        if prior.has_score:
            return fast_sampling.draw(prior, key, n, n_steps, batch=min(n, 16))
        return jax.jit(lambda prior: prior.sample(key, n))(prior)

    return {kind: np.asarray(of(prior)) for kind, prior in priors.items()}


def store_draws(run, drawn):
    """Store of draws {kind: (n, *shape)} the percentages beyond the limit of the rule and the largest magnitude of a
    pixel, as ``draws.<kind>``.
    """
    for kind, x in drawn.items():
        found = {f"dropped_{scale}": 100 * np.mean(dropped(x, scale=scale)) for scale in SCALES}
        run.numbers(f"draws.{kind}", {**found, "largest": np.abs(x).max()})


def store_kinds(run, priors, key, kinds, n_times=64):
    """Store bits per pixel of ``kinds`` (see ``image_kinds``) under each prior as ``kinds.k<i>.<kind>``.

    What overflows is stored as the largest float32.
    """
    for i, images in enumerate(kinds.values()):
        for kind, prior in priors.items():
            found = _finite(np.mean(bits(log_densities(prior, key, images, n_times), prior.dim)))
            run.number(f"kinds.k{i}.{kind}", found)


def kinds_of(record, labels):
    """{prior: {label: bits}} of a record's ``kinds``, whose ``labels`` are those of ``image_kinds``, in order."""
    number = lambda i, kind: record["numbers"][f"kinds.k{i}.{kind}"]["value"]  # noqa: E731
    shown = [kind for kind in LABELS if f"kinds.k0.{kind}" in record["numbers"]]
    return {LABELS[kind]: {label: number(i, kind) for i, label in enumerate(labels)} for kind in shown}


def store_path(run, priors, images, key, n_times=64):
    """Store ``path`` along LEVELS as ``path.l<i>.<kind>.bits`` and ``.gradient``."""
    found = path(priors, images, LEVELS, key, n_times)
    for measure, curves in found.items():
        for kind, values in curves.items():
            for i, value in enumerate(values):
                run.number(f"path.l{i}.{kind}.{measure}", value)


def path_of(record):
    """{"bits per pixel": {prior: values over LEVELS}, "gradient norm": ...} of a record's ``path``."""
    number = lambda i, kind, measure: record["numbers"][f"path.l{i}.{kind}.{measure}"]["value"]  # noqa: E731
    shown = [kind for kind in LABELS if f"path.l0.{kind}.bits" in record["numbers"]]
    return {
        title: {LABELS[kind]: [number(i, kind, measure) for i in range(len(LEVELS))] for kind in shown}
        for title, measure in (("bits per pixel", "bits"), ("gradient norm", "gradient"))
    }


def image_kinds(key, held_out, drawn, noise=(0.02, 0.1)):
    """Images to ask both priors about: {label: (n, *shape)}, from held-out faces (n, h, w, 1) on to what is no image at
    all.

    ``drawn`` are draws of the priors (see ``prior_draws``). Photographs are patches of those in scikit-image. All are
    dequantized but those with noise of their own.
    """
    held_out, n = np.asarray(held_out), len(held_out)
    h, w = held_out.shape[1:3]
    k_level, k_noise, k_pixels, k_uniform, k_normal, k_flat = jax.random.split(key, 6)
    whole = np.asarray(dequantized(k_level, jnp.asarray(held_out), LEVEL))
    kinds = {
        "held-out faces": whole,
        "draws of the score prior": drawn["score"][:n],
        "draws of the flow": drawn["flow"][:n],
    }
    for level, k in zip(noise, jax.random.split(k_noise, len(noise)), strict=True):
        kinds[f"faces, noise {level:g}"] = held_out + level * np.asarray(jax.random.normal(k, held_out.shape))
    kinds["faces upside down"] = whole[:, ::-1]
    kinds["photographs"] = _photographs(k_level, n, h, w)
    kinds["flat grey"] = np.asarray(dequantized(k_flat, jnp.full(held_out.shape, 0.5), LEVEL))
    order = np.asarray(jax.random.permutation(k_pixels, h * w))
    kinds["faces, pixels shuffled"] = whole.reshape(n, -1)[:, order].reshape(held_out.shape)
    kinds["uniform noise"] = np.asarray(jax.random.uniform(k_uniform, held_out.shape))
    kinds["standard normal noise"] = np.asarray(jax.random.normal(k_normal, held_out.shape))
    return {name: np.asarray(images, np.float32) for name, images in kinds.items()}


def _photographs(key, n, h, w):
    pieces = np.concatenate([cut(read_grey(name), h, w)[0] for name in IMAGES["test"]])[..., None]
    chosen = np.linspace(0, len(pieces) - 1, n).round().astype(int)
    return np.asarray(dequantized(key, jnp.asarray(pieces[chosen]), LEVEL))


def path(priors, images, levels, key, n_times=64):
    """Along ``levels`` of noise added to ``images``: {"bits": {kind: (len(levels),)}, "gradient": the same}, means over
    the images.

    priors: {kind: prior}; "gradient" is the norm of grad log p per unit of x. What overflows is the largest float32.
    """
    noise = np.asarray(jax.random.normal(key, images.shape))
    found = {"bits": {}, "gradient": {}}
    for kind, prior in priors.items():
        both = [gradient_norms(prior, key, images + level * noise, n_times) for level in levels]
        found["bits"][kind] = [_finite(np.mean(bits(values, prior.dim))) for values, _ in both]
        found["gradient"][kind] = [_finite(np.mean(norms)) for _, norms in both]
    return found


def _finite(value):
    """``value``, or the largest float32 where it is larger or no number."""
    return float(min(np.nan_to_num(value, nan=np.inf, posinf=np.inf), np.finfo(np.float32).max))


def dropped(samples, limit=LIMIT, scale="unit"):
    """True for each of ``samples`` (n, *shape) with a pixel of magnitude above ``limit``: the supplement's rule (Sec.
    A.2), (n,).

    scale: that of the pixels the rule is applied to, "unit" [0, 1] or "signed" [-1, 1]; the samples are in [0, 1]. One
    that is not finite is dropped too. Raises ValueError for an unknown scale.
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {sorted(SCALES)}, got {scale!r}")
    offset, factor = SCALES[scale]
    flat = np.abs(offset + factor * np.asarray(samples, np.float64).reshape(len(samples), -1))
    return ~(flat.max(axis=1) <= limit)


def describe(samples, truth):
    """What samples (n, h, w, 1) of one posterior are worth: a dict of floats.

    psnr, ssim and mse of their mean, ``psnr_one``, ``ssim_one`` and ``mse_one`` the means over single samples;
    coverage: percentage of pixels inside the central 90 % interval; spread: rms standard deviation over the rms error
    of the mean, 1 where they fit.
    """
    samples, truth = np.asarray(samples, np.float64), np.asarray(truth, np.float64)
    mean, all_truth = samples.mean(axis=0)[None], np.broadcast_to(truth, samples.shape)
    measures = {"psnr": quality.psnr, "ssim": lambda a, b: quality.ssim(a[..., 0], b[..., 0]), "mse": quality.mse}
    found = {name: float(measure(mean, truth[None])[0]) for name, measure in measures.items()}
    found |= {f"{name}_one": float(np.mean(measure(samples, all_truth))) for name, measure in measures.items()}
    found["coverage"] = 100 * float(calibration.coverage(samples, truth, [0.9])[0])
    found["spread"] = float(np.sqrt(samples.var(axis=0, ddof=1).mean() / found["mse"]))
    return found


def with_and_without(samples, truth, limit=LIMIT):
    """``describe`` of all samples, and under ``kept`` of those that the rule keeps; the percentages that it drops in
    either scale.

    {"all": dict or None, "kept": dict or None, "dropped_unit": float, "dropped_signed": float}: None where fewer than
    two samples are left or some of them are not finite.
    """
    samples = np.asarray(samples)
    gone = {scale: dropped(samples, limit, scale) for scale in SCALES}
    kept = samples[~gone["unit"]]
    return {
        "all": describe(samples, truth) if np.isfinite(samples).all() else None,
        "kept": describe(kept, truth) if len(kept) > 1 else None,
        **{f"dropped_{scale}": 100 * float(np.mean(which)) for scale, which in gone.items()},
    }


def spikes(history, window=20, factor=2.0):
    """Share of the steps whose gradient norm is more than ``factor`` times the median of the ``window`` steps before:
    {"share", "largest"}.

    largest: the largest such ratio. history: that of a ``dpi.Fit``. NaN where it has no more than ``window`` steps.
    """
    norms = np.asarray(history["gradient"], np.float64)
    if len(norms) <= window:
        return {"share": float("nan"), "largest": float("nan")}
    before = np.median(np.lib.stride_tricks.sliding_window_view(norms, window)[:-1], axis=1)
    ratio = norms[window:] / before
    return {"share": float(np.mean(ratio > factor)), "largest": float(ratio.max())}
