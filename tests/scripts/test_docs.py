"""README, docs and result files agree: every table is generated from a file, or listed here with the reason."""

import re
from typing import get_args

import pytest

from embodia.scripts.bench.harness import results, tables
from embodia.scripts.commands.bench import BENCHES
from embodia.tests.readme import ROOT, flat

FILES = sorted((ROOT / results.RESULTS).glob("*.json"))
PAGES = tables.pages(ROOT)

EARLIER = "measured before there were result files"
NOT_A_BENCH = "holds no results of a bench"
HAND_WRITTEN = {
    "README.md, The commands": NOT_A_BENCH,
    "README.md, The worlds": NOT_A_BENCH,
    "README.md, Results": EARLIER,
    "docs/README.md, Embodia's documentation": NOT_A_BENCH,
    "docs/house.md, The house": NOT_A_BENCH,
    "docs/deployment.md, Export the policy": NOT_A_BENCH,
    "docs/learning.md, Earlier results, seed 0": EARLIER,
    "docs/papers.md, Beside the papers": EARLIER,
    "docs/driving.md, Earlier results": EARLIER,
    "docs/homes.md, Tasks": NOT_A_BENCH,
    "docs/homes.md, Parity with habitat-sim 0.3.3": "differences from another simulator, held by tests of their own",
    "docs/homes.md, Both engines on the same episodes": "needs habitat-sim, which a bench does not",
    "docs/sensors.md, Sensors on roads": NOT_A_BENCH,
    "docs/sensors.md, Labels": NOT_A_BENCH,
    "docs/sensors.md, Labelled data sets": NOT_A_BENCH,
    "docs/segmentation.md, Train on labelled images": NOT_A_BENCH,
    "docs/driving.md, Parity": "differences from another simulator, held by tests of their own",
}
"""Sections with tables that no bench generates, and why. A bench that runs again moves its table from EARLIER."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_are_those_of_the_result_files(page):
    text = page.read_text()
    assert text == tables.filled(text, ROOT / results.RESULTS), "run `embodia bench tables`"


def hand_written():
    """Page and section of every table outside the generated blocks."""
    for page in PAGES:
        section = ""
        for line in tables.BLOCK.sub("", page.read_text()).splitlines():
            section = line.lstrip("# ") if re.match("#+ ", line) else section
            if re.match(r"\|[ :-]*-[ :|-]*$", line):
                yield f"{page.relative_to(ROOT)}, {section}"


def test_every_other_table_is_listed_with_its_reason():
    assert set(hand_written()) == set(HAND_WRITTEN)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_result_file_is_whole_and_shown(path):
    found = results.content(path)
    assert found["bench"] == path.stem
    assert found["command"].startswith("embodia bench ")
    assert re.fullmatch("[0-9a-f]{7,}", found["commit"]), "measured on files that no commit holds"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"])
    assert found["machine"]["processor"]
    for each in flat(results.read(path)).values():
        assert each.low <= each.value <= each.high
        assert each.seeds >= 1
    assert any(f"<!-- results: {path.stem}" in page.read_text() for page in PAGES), "show it on a page of docs"


def test_every_bench_is_on_a_page():
    shown = {
        name for page in PAGES for name in re.findall(r"(?:^|`)embodia bench ([a-z][a-z-]*)", page.read_text(), re.M)
    }
    assert shown == {each().name for each in get_args(BENCHES)} | {"tables"}


def test_planners_swing_poles_up_on_true_equations():
    rows = results.read(ROOT / results.RESULTS / "swing-up.json")
    assert {each.name for each in rows} == {"CEM", "iCEM", "MPPI", "iLQR"}
    assert all(each.value >= 0.95 for each in rows)


def test_token_cut_finds_a_sprite_more_often_than_a_box_in_the_middle():
    rows = flat(results.read(ROOT / results.RESULTS / "discovery-cuts-sprites.json"))
    (cut,) = (each for (name, unit), each in rows.items() if name.endswith(": TokenCut, colour and gradients"))
    (box,) = (each for (name, unit), each in rows.items() if name.startswith("centre box") and unit == "CorLoc")
    assert cut.low > box.high


def values(bench):
    """Value of each row, and of each control as (row, control), of a result file."""
    rows = results.read(ROOT / results.RESULTS / f"{bench}.json")
    controls = {(each.name, control.name): control.value for each in rows for control in each.controls}
    return {each.name: each.value for each in rows} | controls


def test_models_that_can_be_sampled_meet_their_bars():
    got = values("generative")
    assert got["rbm"] >= -4.2
    assert got["rbm", "pcd-10 valid"] >= 0.9
    assert got["rbm", "cd-1"] < got["rbm", "cd-10"] < got["rbm"]
    assert got["ais"] <= 1.0
    assert got["ebm rings"] <= 0.01
    assert got["ebm rings", "ebm smallest mode"] >= 0.05
    assert got["energy digits"] >= 0.93
    assert got["energy digits", "energy auroc"] >= 0.9
    assert got["linear autoencoder"] < 1.0
    assert got["conv autoencoder"] <= 0.7
    assert got["ncsn toy"] == pytest.approx(0.2, abs=0.03)
    assert got["ddpm"] <= 0.006
    assert got["ddpm", "smallest mode"] >= 0.08
    assert got["ddim consistency"] >= 0.95
    assert got["dpm-solver"] == pytest.approx(2.0, abs=0.1)
    assert got["steering"] <= 0.08
    assert got["likelihood"] <= 0.01
    assert got["ddim step"] >= 3.0


def test_rewards_from_experts_meet_their_bars():
    got = values("irl")
    assert got["maxent"] <= 0.02
    assert got["maxent, reward"] >= 0.97
    assert got["max-margin"] <= 1.05
    assert got["max-margin", "uniform costs"] >= 1.4
    assert got["max-margin, path"] >= 0.85
    assert got["ssvm"] <= 0.6
    assert got["ssvm, gap"] < 0.01
    assert got["adversarial"] >= 0.9 > got["adversarial", "BC, 20"]
