"""Is it good, and is it calibrated? Measures of quality and of calibration."""

from aps_core.metrics.quality import (
    crps,
    energy_score,
    mean_and_standard_error,
    mmse_estimate,
    mse,
    psnr,
    sample_error_over_mmse,
    ssim,
)

__all__ = [
    "crps",
    "energy_score",
    "mean_and_standard_error",
    "mmse_estimate",
    "mse",
    "psnr",
    "sample_error_over_mmse",
    "ssim",
]
