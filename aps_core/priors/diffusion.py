"""What priors with a network share: they stand on a Gaussian; density and draws of the diffusions are those of the probability-flow ODE."""


class LearnedPrior:
    """Base of priors with a field ``gaussian`` (a GaussianPrior), which has their shape and which flows start from."""

    @property
    def shape(self):
        """Shape of a signal."""
        return self.gaussian.shape

    @property
    def dim(self):
        """d, the number of entries of a signal."""
        return self.gaussian.dim


class DiffusionPrior(LearnedPrior):
    """Base of learned priors with a noise prediction ``eps(ut, t)``; their diffusion is that of ``gaussian``."""

    @property
    def sde(self):
        """The diffusion."""
        return self.gaussian.sde

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
