"""Command-line options of this test suite.

pytest --strict-skips                                   # CI: fail on a skipped test that is not expected below
pytest -m slow --part 1/4 --passed slow-passed.txt      # the slow tests in parts; a second run continues
"""

import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXPECTED_SKIPS = {
    "test_a_missing_gpu_is_named": "there is a CUDA device",
    "test_habitat_sim_that_is_not_installed_is_one_line": "habitat_sim is installed",
}
"""Tests that may be skipped under --strict-skips, with the reason: each needs a machine without this feature."""


class RootIsNoTestPackage:
    """Collects the root as a plain directory.

    The root is the package `embodia`, and pytest would import it a second time under the name of the checkout's folder.
    """

    @staticmethod
    def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Dir | None:
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("embodia")
    group.addoption("--strict-skips", action="store_true", help="fail if an unexpected test is skipped")
    group.addoption("--part", default="1/1", metavar="I/N", help="run part I of N of the selected tests")
    group.addoption("--passed", type=Path, metavar="FILE", help="skip the tests listed in FILE; add those that pass")


def pytest_configure(config: pytest.Config) -> None:
    # The hooks of a conftest.py are not called for the folder above it; those of a registered plugin are.
    config.pluginmanager.register(RootIsNoTestPackage())
    part, parts = config.getoption("--part").split("/")
    if not 1 <= int(part) <= int(parts):
        raise pytest.UsageError(f"--part {part}/{parts}: give I/N with I from 1 to N")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of one part (by a hash of their names) that have not passed yet."""
    part, parts = map(int, config.getoption("--part").split("/"))
    passed = read(config.getoption("--passed"))

    def chosen(item: pytest.Item) -> bool:
        return zlib.crc32(item.nodeid.encode()) % parts == part - 1 and item.nodeid not in passed

    config.hook.pytest_deselected(items=[item for item in items if not chosen(item)])
    items[:] = filter(chosen, items)


def read(file: Path | None) -> set[str]:
    return set(file.read_text().splitlines()) if file is not None and file.exists() else set()


class Outcomes:
    """Record the tests that passed, and count those that were skipped."""

    def __init__(self, config: pytest.Config):
        self.passed: Path | None = config.getoption("--passed")
        self.strict: bool = config.getoption("--strict-skips")
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed and self.passed is not None:
            with self.passed.open("a") as file:
                file.write(report.nodeid + "\n")
        self.note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.note(report)  # a whole module skipped, by importorskip

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        name = report.nodeid.rpartition("::")[2].partition("[")[0]
        if report.skipped and name not in EXPECTED_SKIPS and not hasattr(report, "wasxfail"):
            self.skipped.append(f"{report.nodeid}: {report.longrepr[2] if report.longrepr else ''}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.strict and self.skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.strict and self.skipped:
            terminalreporter.section("skipped, though not expected to be (tests/conftest.py)", red=True)
            terminalreporter.write_line("\n".join(self.skipped))


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):  # under xdist the reports of all workers reach the main process
        session.config.pluginmanager.register(Outcomes(session.config))
