"""Buffers of rows: rollout, replay, data set.

Rows come from n parallel environments and are stored time-major, (T, n, ...). A row with `last` has no successor and
its action was never executed, so it starts no transition. It is stored because its observation ends the transition
before it, and because a truncated episode is bootstrapped from it. Every buffer has its own random generator; after
`load_state_dict` it yields the same batches in the same order.
"""
