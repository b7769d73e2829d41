"""The discovery bench: trainings resume exactly, truths from simulators, pictures, and the rows of what is done."""

import json
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from embodia.perception.encoders.vit import ViT
from embodia.perception.objects.complex_autoencoder import ComplexAutoEncoder
from embodia.perception.pictures.outlined_shapes import outlined_shapes
from embodia.perception.pictures.scenes import OVERLAP, Scenes
from embodia.perception.pictures.sprites import sprites
from embodia.scripts.bench.discovery import discovery as bench_discovery
from embodia.scripts.bench.discovery.cuts import best_side, cuts, enlarged, middle_box, small_vit
from embodia.scripts.bench.discovery.records import ADAM, NumberedBatches, trained
from embodia.scripts.bench.discovery.sets import (
    any_whole,
    drawn,
    home_frames,
    instances,
    kept,
    road_pictures,
    road_share,
)
from embodia.scripts.bench.discovery.slots import slots_controls
from embodia.scripts.bench.harness.options import Discovery
from embodia.scripts.mistake import Mistake
from embodia.scripts.report import mask_picture


def learned(folder, steps, schedule="trapezoid"):
    scenes = outlined_shapes(40, 0)
    torch.manual_seed(0)
    model = ComplexAutoEncoder(scenes.space(), hidden=4, bottleneck=8)
    config = replace(ADAM, steps=steps, batch_size=8, learning_rate=1e-2, schedule=schedule, warmup=4, log_every=3)
    budget = trained(model, scenes, config, folder, lambda: {"training": float(model.training)})
    return model, budget


def test_a_stopped_training_goes_on_and_a_finished_one_is_only_read(tmp_path):
    whole, budget = learned(tmp_path / "whole", 8, "constant")
    assert budget == "8 steps, 0 CPU-minutes"
    learned(tmp_path / "parts", 5, "constant")
    torch.manual_seed(9)
    parts, _ = learned(tmp_path / "parts", 8, "constant")
    read, again = learned(tmp_path / "parts", 8, "constant")
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, parts.state_dict()[name]), name
        assert torch.equal(weight, read.state_dict()[name]), name
    assert again == budget
    lines = [json.loads(line) for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [3, 5, 6, 8]
    assert [line["eval/training"] for line in lines if "loss" not in line] == [0.0, 0.0], "in evaluation mode"


def test_a_training_that_somebody_stops_ends_the_bench(tmp_path, monkeypatch):
    def stopping(data, n):
        signal.raise_signal(signal.SIGTERM)
        return whole(data, n)

    whole = NumberedBatches.batch
    monkeypatch.setattr(NumberedBatches, "batch", stopping)
    with pytest.raises(KeyboardInterrupt):
        learned(tmp_path, 8)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["000000000", "000000001"]


def test_instances_leave_small_and_foreign_things_out():
    ids = np.array([[7] * 8, [3] * 4 + [9] * 3 + [5]])
    labels = instances(ids, np.array([3, 5, 9]), least=0.1)
    assert labels.tolist() == [[0] * 8, [1] * 4 + [2] * 3 + [OVERLAP]]


def test_simulators_give_masks_that_fit_their_pictures(tmp_path):
    homes = kept(tmp_path / "homes.npz", lambda: home_frames(3, "train", 48, worlds=2))
    again = kept(tmp_path / "homes.npz", lambda: pytest.fail("made twice"))
    np.testing.assert_array_equal(homes.labels, again.labels)
    assert homes.images.shape == (3, 48, 48, 3)
    assert all(0.05 <= np.bincount(label[label > 0]).max() / label.size <= 0.4 for label in homes.labels)
    roads = road_pictures(2, "train")
    for image, label in zip(roads.images, roads.labels):
        assert image.shape == (96, 96, 3)
        assert road_share(image) >= 0.9
        assert any_whole(label)
        road = np.median(image[label == 0].astype(int), 0)
        for vehicle in range(1, label.max() + 1):  # painted, not grey
            assert np.ptp(np.median(image[label == vehicle].astype(int), 0)) > np.ptp(road) + 10


def test_whole_objects_touch_no_border():
    label = np.zeros((5, 5), np.int64)
    label[0:2, 1] = 1
    assert not any_whole(label)
    label[3, 3] = 2
    assert any_whole(label)
    assert not any_whole(np.where(label == 2, OVERLAP, label))


def test_boxes_are_drawn_where_they_are():
    ids, names = drawn(np.array([[0.0, 0.0, 0.0, 4.0, 2.0]]), np.array([[4.0, 0.0, 64.0], [0.0, -4.0, 64.0]]))
    assert names.tolist() == [1]
    assert abs((ids == 1).sum() - 16 * 8) <= 25  # 4 m by 2 m at 4 pixels a metre, borders included
    rows, columns = np.nonzero(ids)
    assert (rows.mean(), columns.mean()) == (64, 64)


def test_found_objects_take_the_names_of_true_ones():
    truth = np.array([[0, 0, 1, 1, 2, 2, OVERLAP]])
    found = np.array([[5, 5, 9, 9, 9, 4, 4]])
    named = mask_picture.named_as(found, truth)
    assert named[0, :6].tolist() == [0, 0, 1, 1, 1, 2]


def test_middle_box_and_its_best_side():
    assert middle_box(40, 80, 0.5).tolist() == [20, 10, 60, 30]
    labels = np.zeros((3, 20, 20), np.int64)
    labels[:, 5:15, 5:15] = 1
    assert best_side(Scenes(np.zeros((3, 20, 20, 3), np.uint8), labels)) == pytest.approx(0.4)  # first with IoU >= 0.5


def test_a_larger_vit_is_the_same_network():
    small, large = sprites(1, 0, size=64), sprites(1, 0, size=128)
    encoder = small_vit(small)
    larger = enlarged(encoder, large)
    assert isinstance(larger, ViT)
    images = torch.rand(1, 3, 128, 128) - 0.5
    torch.testing.assert_close(larger.tokens(images)[1], encoder.tokens(images)[1], atol=1e-4, rtol=1e-3)


def test_cuts_score_and_draw(tmp_path):
    scenes = sprites(4, 0, (1, 2), (0.1, 0.3))
    others = sprites(3, 1)
    records = cuts(tmp_path, "few sprites", scenes, scenes, {"random ViT": small_vit(scenes)}, others=others)
    ways = [record["method"].split("random ViT")[1] for record in records[1:]]
    assert ways == [", less the usual", ", not centred", "", ""]  # the last one is MaskCut
    assert all(low <= r["scores"]["CorLoc"] <= high for r in records for low, high in [r["intervals"]["CorLoc"]])
    assert all(-0.5 <= value <= 1 for record in records for value in record["scores"].values())  # an ARI may be below 0
    assert all(record["control"] for record in records)
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_rows_set_controls_beside(tmp_path, monkeypatch):
    def part(method, values, control):
        return [
            {"set": "S", "method": method, "control": control, "scores": {"ARI": value}, "budget": "none"}
            for value in values
        ]

    parts = {"ours": lambda out: part("ours", [0.5, 1.0], False), "easy": lambda out: part("easy", [0.25], True)}
    monkeypatch.setattr(bench_discovery, "parts", lambda seeds: parts)
    (alone,) = bench_discovery.measure(Discovery(only=("ours",), out=tmp_path))
    assert alone.controls == ()
    assert not (tmp_path / "easy.json").exists()
    (found,) = bench_discovery.measure(Discovery(out=tmp_path))
    assert (found.name, found.unit, found.value, found.by_seed) == ("S: ours", "ARI", 0.75, (0.5, 1.0))
    (easy,) = found.controls
    assert (easy.name, easy.value, easy.low, easy.high, easy.seeds) == ("easy", 0.25, 0.25, 0.25, 1)
    monkeypatch.setitem(parts, "ours", lambda out: pytest.fail("done twice"))
    assert bench_discovery.measure(Discovery(out=tmp_path)) == [found]
    with pytest.raises(Mistake, match=r"no part of this bench begins with 'easier'\. Did you mean easy"):
        bench_discovery.measure(Discovery(only=("easier",), out=tmp_path))


def test_colours_tell_pieces_apart_but_for_those_of_one_colour(tmp_path):
    colours, halves = (each["scores"] for each in slots_controls(tmp_path))
    assert abs(colours["FG-ARI, one colour"]) < 1e-9
    assert 0.75 < colours["FG-ARI"] < 0.9, "two of six colours are alike in a sixth of the pictures"
    assert halves["FG-ARI"] < 0.5
