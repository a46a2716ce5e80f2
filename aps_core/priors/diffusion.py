"""What diffusion priors with a network share: they stand on a Gaussian, and their density and draws are those of the probability-flow ODE."""


class DiffusionPrior:
    """Base of priors with a field ``gaussian`` (a GaussianPrior, whose diffusion is theirs) and a noise prediction ``eps(ut, t)``."""

    @property
    def sde(self):
        """The diffusion."""
        return self.gaussian.sde

    @property
    def shape(self):
        """Shape of a signal."""
        return self.gaussian.shape

    @property
    def dim(self):
        """d, the number of entries of a signal."""
        return self.gaussian.dim

    def score(self, ut, t):
        """grad log p_t at ``ut`` (d,), -eps / beta, in the scale u = 2 x - 1."""
        return -self.eps(ut, t) / self.sde.beta(t)

    def log_prob(self, x, key=None, **settings):
        """log density of one signal in nats, that of the probability-flow ODE at t_min; arguments as in ``ode.log_prob_ode``."""
        from aps_core.priors.ode import log_prob_ode  # diffrax takes a second to import

        return log_prob_ode(self, x, key, **settings).log_prob

    def sample(self, key, n, **settings):
        """n draws (n, *shape) of the same ODE; arguments as in ``ode.draw_ode``."""
        from aps_core.priors.ode import draw_ode

        return draw_ode(self, key, n, **settings)
