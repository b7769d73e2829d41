"""Where rows wait until there is something to learn from: rollout, replay, data set.

Rows come from n worlds side by side and are kept time-major, (T, n, ...). A row that is `last` has no successor and
its action was never carried out, so it opens no transition; it is kept because its observation closes the one before,
and because a truncated episode is bootstrapped from it. Every buffer draws from its own generator, and its
`state_dict` gives back the same batches in the same order.
"""
