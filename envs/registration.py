"""Gymnasium ids of every world; `gym.make("envs:embodia/...")` imports `envs`, which calls `register_all` once."""


def register_all() -> None:
    """Register every id under `embodia/`. Entry points are strings, so no simulator is imported here."""
