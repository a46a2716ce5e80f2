"""Fourier features of the diffusion time, which every score network sees."""

import jax.numpy as jnp


def fourier_features(t, n):
    """Sines and cosines of log t at ``n`` // 2 frequencies, (n,): resolves times over many decades."""
    phase = jnp.log(t) * jnp.exp(jnp.linspace(jnp.log(0.1), jnp.log(10.0), n // 2))
    return jnp.concatenate([jnp.sin(phase), jnp.cos(phase)])
