"""The report card: correct scores, and a self-contained page."""

import dataclasses
import json
from html.parser import HTMLParser

import numpy as np
import pytest

from embodia.agents.training.evaluate import Episode
from embodia.agents.training.versions import versions
from embodia.scripts.assembly.provenance import config_hash, cpu_minutes, hardware
from embodia.scripts.report import report, video
from embodia.scripts.report.chart import Curve, Whisker, curve, number, whiskers
from embodia.scripts.report.evaluation import LEVELS, levels_met
from embodia.scripts.report.report import Card, Clip
from embodia.scripts.report.statistics import interval, wilson

N = 40


@pytest.fixture
def card(tmp_path):
    rng = np.random.default_rng(0)
    clips = []
    for i in range(2):
        path = tmp_path / "videos" / f"seed-{i}.mp4"
        video.write(path, rng.integers(0, 255, (4, 32, 32, 3), np.uint8))
        clips.append(Clip(path, f"worst: <seed {i}>", i))
    return Card(
        title="ppo <empty>",
        env="embodia/MiniGrid-Empty-8x8-v0",
        split="test",
        seeds=range(N),
        policies={
            "agent": {"success": [1.0] * 38 + [0.0, 0.0], "return": list(rng.random(N))},
            "random": {"success": [0.0] * 38 + [1.0, 1.0], "return": list(rng.random(N) / 5)},
            "expert": {"success": [1.0] * N},
        },
        lengths=[10] * 38 + [256, 256],
        headline="success",
        curves=[Curve("evaluation success", [0, 100, 200], [0, 0.5, 1], [0, 0.4, 0.9], [0.1, 0.6, 1.0])],
        clips=clips,
        config={"steps": 200, "agent": {"kind": "PPO"}},
        provenance={"versions": versions(), "hardware": hardware(), "cpu_minutes": 1.5},
    )


VOID = {"meta", "line", "circle", "polyline", "polygon"}


class Page(HTMLParser):
    """Collects opening and closing tags and all URLs of the page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.asked, self.count = [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.asked += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_numbers_are_the_statistics(card, tmp_path):
    made = report.write(card, tmp_path)
    assert made == json.loads((tmp_path / "report.json").read_text())
    assert made["scores"]["agent"]["success"] == wilson(38, 40)._asdict()
    assert made["scores"]["agent"]["return"] == interval(card.policies["agent"]["return"])._asdict()
    assert made["against"]["random"]["better"] == 38
    assert made["against"]["random"]["p_value"] < 1e-6
    assert made["episodes"][39] == {
        "seed": 39,
        "length": 256,
        "success": 0.0,
        "return": card.policies["agent"]["return"][39],
        "random success": 1.0,
        "expert success": 1.0,
    }
    assert made["videos"][1] == {"path": "videos/seed-1.mp4", "caption": "worst: <seed 1>", "seed": 1}


def test_the_page_is_whole_and_asks_for_nothing(card, tmp_path):
    report.write(card, tmp_path)
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert page.count["video"] == 2
    assert page.count["tr"] == N + 1
    assert all(address.startswith("data:video/mp4;base64,") for address in page.asked)
    assert "http" not in text
    assert "ppo &lt;empty&gt;" in text
    assert "The agent is better than random: the intervals do not overlap" in text
    assert "$" not in text, "a field of the template was left empty"


def test_films_beyond_the_limit_are_linked(card, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "EMBED", card.clips[0].path.stat().st_size + 1)
    report.write(card, tmp_path)
    asked = Page((tmp_path / "report.html").read_text()).asked
    assert asked[0].startswith("data:")
    assert asked[1] == "videos/seed-1.mp4"
    assert (tmp_path / asked[1]).exists()


def test_nothing_is_claimed_of_a_policy_that_is_no_better(card, tmp_path):
    same = {**card.policies, "agent": {"success": [0.0, 1.0] * 20}, "random": {"success": [1.0, 0.0] * 20}}
    made = report.summary(Card(**{**vars(card), "policies": same}), tmp_path)
    assert "There is no evidence that the agent is better than random" in report.verdict(made)


def test_scores_and_seeds_must_agree(card, tmp_path):
    with pytest.raises(ValueError, match="random: 39 values of success for 40 seeds"):
        report.write(Card(**{**vars(card), "policies": {**card.policies, "random": {"success": [0] * 39}}}), tmp_path)


def test_worst_and_best_are_told_apart_by_length_where_scores_tie():
    picked = report.worst_and_best([1, 1, 0, 1, 0], [9, 5, 7, 30, 8])
    assert picked == [("worst", 4), ("worst", 2), ("best", 1), ("best", 0)]
    assert report.worst_and_best([1.0], [3]) == [("worst", 0)]


def test_where_lower_is_better_the_lower_one_wins(card, tmp_path):
    near, far = list(np.linspace(1, 2, N)), list(np.linspace(5, 6, N))
    both = {"distance_to_goal": "lower", "return": "higher"}
    policies = {"agent": {"distance_to_goal": near}, "random": {"distance_to_goal": far}}
    said = Card(**{**vars(card), "policies": policies, "headline": "distance_to_goal", "better": both})
    made = report.summary(said, tmp_path)
    assert made["better"] == both
    assert (made["against"]["random"]["better"], made["against"]["random"]["worse"]) == (N, 0)
    assert made["against"]["random"]["difference"]["value"] == pytest.approx(-4), "A - B stays what it is"
    text = report.verdict(made)
    assert text.startswith(f"Distance to goal (lower is better) over {N} episodes")
    assert "The agent is better than random" in text
    assert "distance to goal (lower is better)" in report.page(said, made)
    swapped = Card(**{**vars(said), "policies": {"agent": policies["random"], "random": policies["agent"]}})
    assert "There is no evidence that the agent is better than random" in report.verdict(
        report.summary(swapped, tmp_path)
    )
    assert report.worst_and_best([3, 1, 2], [1, 1, 1], 1, "lower") == [("worst", 0), ("best", 1)]


def test_charts_place_what_they_show():
    text = whiskers([Whisker("agent", 0.5, 0.25, 0.75), Whisker("random", 0, 0, 0)])
    assert "left:25.00%;width:50.00%" in text
    assert "left:50.00%" in text
    assert "0.50 [0.25, 0.75]" in text
    svg = curve(Curve("loss", range(10_000), np.linspace(2, 1, 10_000).tolist()))
    line = svg.split('class="line" points="')[1].split('"')[0].split()
    assert 200 <= len(line) <= 240, "thinned"
    ys = [float(pair.split(",")[1]) for pair in line]
    assert ys == sorted(ys), "a falling loss goes down the page, where y grows"
    assert [number(x) for x in (0.12345, 1234, 45_600, 2_500_000)] == ["0.123", "1234", "45.6k", "2.5M"]


def test_provenance_names_what_a_result_hangs_on():
    assert config_hash({"a": 1, "b": (2, 3)}) == config_hash({"b": [2, 3], "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})
    assert versions()["torch"].startswith("2.")
    assert hardware()["cores"] >= 1
    assert cpu_minutes() > 0


def test_levels_are_counted_named_and_told_apart_from_training(card, tmp_path):
    def made(**changed):
        found = report.write(dataclasses.replace(card, **changed), tmp_path)
        return found, (tmp_path / "report.html").read_text()

    plain, page = made()
    assert plain["levels"]["distinct"] == N
    assert "the environment does not name its levels" in page
    four = [f"level {i % 4}" for i in range(N)]
    repeated, page = made(levels=four, met=0)
    assert "4 distinct levels in 40 episodes (repeats of a level count once), held out: none of them occurred" in page
    rate = [np.mean(card.policies["agent"]["success"][i::4]) for i in range(4)]
    assert repeated["scores"]["agent"]["success"] == interval(rate)._asdict()
    assert repeated["against"]["random"]["n"] == 4
    _, page = made(levels=four, met=3)
    assert "; 3 of them occurred in training, 1 did not" in page
    _, page = made(levels=four, met=4)
    assert "not held out: all of them occurred in training" in page
    others, _ = made(levels=[*four[:-1], "elsewhere"])
    assert others["levels"]["fingerprint"] != repeated["levels"]["fingerprint"]
    assert made(levels=four)[0]["levels"]["fingerprint"] == repeated["levels"]["fingerprint"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"levels": None}, "Training plays a new level in every episode."),
        ({"levels": 10_000}, "Training plays 10,000 levels again and again."),
        ({}, None),
        (None, None),
    ],
)
def test_the_page_says_which_levels_training_plays(card, tmp_path, options, said):
    card = dataclasses.replace(card, config={"env": {"options": options}})
    report.write(card, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert said in page if said else "Training plays" not in page


def test_scores_that_some_episodes_lack_are_named_not_averaged(card, tmp_path):
    made = report.write(dataclasses.replace(card, missing={"spl": 7}), tmp_path)
    assert made["missing"] == {"spl": 7}
    assert "spl: 7 of 40 episodes ended without it, so no average is given" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("content", [b"", b"torn", b"\x93NUMPY"])
def test_levels_of_training_that_cannot_be_read_are_not_known(tmp_path, content):
    """The evaluation is not lost with them."""
    (tmp_path / LEVELS).write_bytes(content)
    with pytest.warns(UserWarning, match="training's levels are not known"):
        assert levels_met(tmp_path, [Episode(0, 1, 0.0, level="home-1")]) is None
