"""Training of diffusion priors over all entries of a signal: a Gaussian fitted to the data, then a network by denoising
score matching.
"""

import jax
import jax.numpy as jnp
import numpy as np

from aps_core import data
from aps_core.data.faces import grey
from aps_core.diffusion import VPSDE
from aps_core.metrics.quality import psnr
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.mirror import mirrored_pca
from aps_core.priors.networks.patches import make_tokens
from aps_core.priors.score_network import build_network, denoising_loss, init_network_prior
from aps_core.priors.store import prior_settings, prior_tree
from aps_core.training.job import Job, run
from aps_core.training.optimizer import Optimizer
from aps_core.training.recipes import Trainer, checked, prior_of

VALIDATION = 256  # signals
REQUIRED = ("data", "n_modes", "batch", "network")  # of a recipe's [prior]
DEFAULTS = {"grey": False, "dequantize": 1 / 255, "mirror": False, "residual": True, "t_residual": 1e-4, "tokens": None}


def fit_image_gaussian(values, n_modes, width, mirror=False, sde=VPSDE()):
    """The GaussianPrior of 8-bit images ``values`` (n, h, w, c) uint8 plus uniform noise ``width`` wide (1/255 for
    whole grey levels).

    As ``fit_gaussian``, from the covariance matrix: memory and time do not grow with n. With ``mirror`` every image
    counts with its mirror image, and each mode is either even or odd under left-right reflection.
    """
    flat = values.reshape(len(values), -1)
    total, mean = np.zeros((flat.shape[1],) * 2), np.mean(flat, axis=0, dtype=np.float64) / 255
    for chunk in np.array_split(flat, -(-len(flat) // 4096)):
        v = chunk.astype(np.float32) / 255 - mean.astype(np.float32)
        total += v.T @ v
    covariance = total / (len(flat) - 1)
    mean, variances, basis = mirrored_pca(mean, covariance, values.shape[1:], mirror)
    variances = variances + width**2 / 12
    rest = variances[n_modes:].mean() if n_modes < variances.size else variances[-1]
    as32 = lambda a: jnp.asarray(a, dtype=jnp.float32)  # noqa: E731
    return GaussianPrior(
        as32(mean),
        as32(basis[:, :n_modes]),
        as32(np.maximum(variances[:n_modes] - rest, 0)),
        as32(rest),
        shape=values.shape[1:],
        sde=sde,
    )


def train_network_prior(recipe, **session):
    """Train a NetworkPrior as a recipe says: (prior, Trained, card). session: see ``job.run``; errors as ``network_prior_job``."""
    recipe = checked(recipe, NETWORK_PRIOR)
    return run(network_prior_job(recipe), recipe, **session)


def network_prior_job(recipe):
    """The Job of a NetworkPrior on 8-bit images.

    [prior]: ``data`` (a name with 8-bit pixels, see ``data.pixels``), ``grey`` (colour images in grey), ``n_modes`` of
    the Gaussian, ``batch``, ``dequantize`` (width of the uniform noise), ``mirror`` (whether images are reflected at
    random), ``residual``, ``t_residual``; [prior.tokens] and [prior.network] as ``make_tokens`` and ``build_network``
    want them. Logged: the gain of the bound over the Gaussian in nats per entry, and PSNR of Tweedie's estimate at
    noise 0.1, both on validation images. Errors as those of the functions it calls, and of ``prior_of``.
    """
    settings = prior_of(recipe, REQUIRED, DEFAULTS)
    if not isinstance(settings["tokens"], dict | None):
        raise TypeError(f"[prior] tokens must be a table, [prior.tokens], got {settings['tokens']!r:.80}")
    width, mirror = settings["dequantize"], settings["mirror"]
    values, sha = images_of(settings, "train")
    shape = values.shape[1:]
    gaussian = fit_image_gaussian(values, settings["n_modes"], width, mirror)
    tokens = make_tokens(shape=shape, **settings["tokens"]) if settings["tokens"] else None
    network = build_network(settings["network"], shape, tokens)
    start = init_network_prior(
        jax.random.key(Optimizer.of(recipe["optimizer"]).seed),
        gaussian,
        network,
        settings["residual"],
        settings["t_residual"],
    )
    arrays = {"prior": start.replace(params={}), "pixels": jnp.asarray(values)}
    held_out = jnp.asarray(images_of(settings, "val", VALIDATION)[0], jnp.float32) / 255

    def loss(params, arrays, key, progress):
        *k_draw, k_loss = jax.random.split(key, 3)
        images = drawn(k_draw, arrays["pixels"], settings["batch"], mirror)
        return denoising_loss(arrays["prior"].replace(params=params), k_loss, images, width), {}

    measure = jax.jit(lambda prior, key: _validation(prior, key, held_out, width))

    def evaluate(params, arrays, key):
        gain, denoised = measure(arrays["prior"].replace(params=params), key)
        return {
            "val_gain": float(gain),
            "val_tweedie": float(np.mean(psnr(np.asarray(denoised), np.asarray(held_out)))),
        }

    return network_job(loss, start, arrays, evaluate, sha)


def network_job(loss, start, arrays, evaluate, sha):
    """The Job of a prior whose ``params`` are trained, from ``start``, on data with this sha256."""
    return Job(
        loss,
        start.params,
        arrays,
        evaluate,
        lambda params, card: start.replace(params=params),
        {"data_sha256": sha, "settings": prior_settings(start)},
        prior_tree,
        inputs={"data": sha},
    )


def images_of(settings, split, limit=None):
    """8-bit images of ``split`` for a recipe's [prior] table and their sha256: those of ``data``, in grey where
    ``grey`` is set.
    """
    values, sha = data.pixels(settings["data"], split, limit)
    return (grey(values) if settings.get("grey", False) else values), sha


def drawn(keys, pixels, n, mirror):
    """n images (n, h, w, c) in [0, 1], drawn with replacement from 8-bit ``pixels``; with ``mirror`` each is reflected
    with chance 1/2.

    keys: one for the choice, one for the reflections.
    """
    k_pick, k_flip = keys
    images = pixels[jax.random.randint(k_pick, (n,), 0, len(pixels))] / 255.0
    if not mirror:
        return images
    return jnp.where(jax.random.bernoulli(k_flip, shape=(n, 1, 1, 1)), images[:, :, ::-1], images)


def _validation(prior, key, images, width):
    """Gain of the bound over the Gaussian in nats per entry, and Tweedie's estimates of ``images`` from noise 0.1, both
    without gradients.
    """
    k_gain, k_noise = jax.random.split(key)
    noisy = images + 0.1 * jax.random.normal(k_noise, images.shape)
    return -denoising_loss(prior, k_gain, images, width), tweedie(prior, noisy, 0.1)


def tweedie(prior, y, sigma_y):
    """E[x | y] for denoising under a diffusion prior, y = x + N(0, sigma_y^2 I), of a batch (n, *shape): one evaluation
    each.

    In the scale u = 2 x - 1 the noise is 2 sigma_y, and alpha (2 y - 1) is u_t at the time at which beta / alpha = 2
    sigma_y.
    """
    t = prior.sde.time_of(2 * jnp.log(2 * sigma_y))
    u = prior.sde.alpha(t) * (2 * y.reshape(len(y), -1) - 1)
    return (jax.vmap(lambda ui: prior.denoise(ui, t))(u).reshape(y.shape) + 1) / 2


NETWORK_PRIOR = Trainer(network_prior_job, ("prior",))
