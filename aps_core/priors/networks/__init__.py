"""Networks that predict the residual to a Gaussian score, by the form of the signal."""
