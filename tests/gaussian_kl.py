"""The divergence of two Gaussians, for tests that know it."""

import numpy as np
from scipy.linalg import solve_triangular


def gaussian_kl(mean_q, cov_q, mean_p, cov_p):
    """KL(q || p) in nats of two Gaussians: means (d,), covariances (d, d).

    KL = [tr(S_p^-1 S_q) + (m_p - m_q)^T S_p^-1 (m_p - m_q) - d + log det S_p - log det S_q] / 2.
    """
    mean_q, mean_p = np.asarray(mean_q, np.float64), np.asarray(mean_p, np.float64)
    chol_q, chol_p = np.linalg.cholesky(cov_q), np.linalg.cholesky(cov_p)
    trace = (solve_triangular(chol_p, chol_q, lower=True) ** 2).sum()
    distance = (solve_triangular(chol_p, mean_p - mean_q, lower=True) ** 2).sum()
    log_det = 2 * np.log(np.diag(chol_p)).sum() - 2 * np.log(np.diag(chol_q)).sum()
    return float((trace + distance - len(mean_q) + log_det) / 2)
