"""What every flow is asked for in its tests."""

import jax


def everything(flow, params, measurement, z):
    """x, log-dets both ways, z again, Jacobians: all of a batch z."""
    context = flow.context(measurement)
    x, log_det = jax.vmap(lambda zi: flow.forward(params, zi, context))(z)
    back, inverse_log_det = jax.vmap(lambda xi: flow.inverse(params, xi, context))(x)
    jacobian = jax.vmap(jax.jacfwd(lambda zi: flow.forward(params, zi, context)[0]))(z)
    return x, log_det, back, inverse_log_det, jacobian
