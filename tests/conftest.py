"""The root is the package `embodia`; pytest would import it a second time under the checkout's name."""

from pathlib import Path

import pytest


class RootIsNoTestPackage:
    """Collects the root as a plain directory."""

    @staticmethod
    def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Dir | None:
        return pytest.Dir.from_parent(parent, path=path) if path == Path(__file__).parent.parent else None


def pytest_configure(config: pytest.Config) -> None:
    # Hooks of a conftest.py do not see its own directory collected, those of a registered plugin do.
    config.pluginmanager.register(RootIsNoTestPackage())
