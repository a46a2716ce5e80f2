"""Networks that predict the residual to a Gaussian score, by the form of the signal.

Each has ``kind``, its word in recipes; ``tokens``, how it cuts a signal (None: not at all); has_token_trunk, whether its
trunk and output can be those of a DistilledFlow, and has_sites, whether it can be copied by a SubspaceFlow.
"""
