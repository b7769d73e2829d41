"""The benches of self-supervision on a tiny budget: every recipe runs, finished runs are kept, tables and plot."""

import json
import warnings

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from embodia.envs.homes.walks import ROOMS, walks
from embodia.perception.encoders.vit import ViT
from embodia.perception.pictures.shapes10 import SPACE, shapes10
from embodia.perception.self_supervision.mae import MAE, normalised
from embodia.scripts.assembly import build, image_encoders
from embodia.scripts.bench.harness.options import HomesProbe, Matrix, Ssl
from embodia.scripts.bench.matrix import matrix as bench_matrix
from embodia.scripts.bench.self_supervision import attention_scores, mae_scores
from embodia.scripts.bench.self_supervision import homes_probe as bench_homes_probe
from embodia.scripts.bench.self_supervision import ssl as bench_ssl
from embodia.scripts.bench.self_supervision.home_probe import SCORES


@pytest.fixture
def tiny(monkeypatch):
    for name, value in (("TRAIN", 60), ("TEST", 30), ("LABELLED", 40)):
        monkeypatch.setattr(bench_ssl, name, value)
    for name, value in (("TRAIN", 20), ("TEST", 12)):
        monkeypatch.setattr(attention_scores, name, value)


def test_every_recipe_runs_and_is_not_run_twice(tiny, tmp_path, monkeypatch):
    asked = Ssl(seeds=1, smoke=True, out=tmp_path)
    found = bench_ssl.measure(asked)
    probed = [row for row in found if row.unit == "linear probe"]
    assert [row.name for row in probed] == list(bench_ssl.RECIPES)
    assert [control.name for control in probed[0].controls] == ["PCA-64 of pixels", "untrained"]
    assert [control.name for control in probed[-1].controls] == ["PCA-64 of pixels", "untrained ViT"]
    assert all(row.low <= row.value <= row.high for row in found)
    assert all(control.unit == row.unit for row in found for control in row.controls)
    assert cv2.imread(str(tmp_path / "smoke" / "collapse.png")).std() > 5

    kept = tmp_path / "smoke" / "ssl.jsonl"
    lines = kept.read_text().splitlines()
    kept.write_text("\n".join([*lines[:-1], lines[-1][:40]]))  # killed while it wrote the last line
    again = []
    monkeypatch.setattr(bench_ssl, "attention", lambda steps, out: again.append(steps) or json.loads(lines[-1]))
    bench_ssl.measure(asked)
    assert len(again) == 1


def test_attention_is_scored_by_the_head_that_is_best_on_other_pictures(monkeypatch):
    """One head looks at the object alone, one at all, one at a corner."""
    scenes = attention_scores.one_sprite(10, 0)
    encoder = attention_scores.vit(scenes)
    cells = torch.from_numpy(scenes.labels > 0).float().unfold(1, 8, 8).unfold(2, 8, 8).mean((-1, -2))
    corner = torch.zeros_like(cells)
    corner[:, 0, 0] = 1
    monkeypatch.setattr(encoder, "attention", lambda images: torch.stack([corner, torch.ones_like(cells), cells], 1))
    found = attention_scores.best_head(encoder, scenes, mass=0.9)
    assert found > 0.6


def test_the_painted_error_of_a_flawless_painter_is_nought_and_of_the_mean_one():
    pictures = shapes10(12, 0)[0]
    mae = MAE(ViT(SPACE, patch_size=4, dim=16, depth=1, num_heads=2), width=16, depth=1)
    truth = normalised(mae.patches(mae.encoder.images({"image": pictures})[0]))
    mae.reconstruct = lambda images, order: (truth, None)
    found = mae_scores.painting(mae, pictures)
    assert found["masked_mse"] == 0
    assert 0.2 < found["interpolated_mse"] < 1
    mae.reconstruct = lambda images, order: (torch.zeros_like(truth), None)
    assert mae_scores.painting(mae, pictures)["masked_mse"] == pytest.approx(1, abs=0.03)


def test_interpolation_is_exact_on_a_plane_and_keeps_what_is_seen():
    y, x = np.mgrid[:32, :32]
    plane = torch.from_numpy(np.stack([y, x, x + y]) / 64).float()[None]
    mae = MAE(ViT(SPACE, patch_size=4, dim=16, depth=1, num_heads=2), mask_ratio=0.5, width=16, depth=1)
    seen = [0, 7, 56, 63, *range(10, 38)]  # the corners and some between
    order = torch.tensor([seen + [i for i in range(64) if i not in seen]])
    torch.testing.assert_close(mae_scores.interpolated(mae, plane, order), plane, atol=1e-5, rtol=0)


def test_recipes_and_their_ablations_differ_in_one_thing():
    full, no_stop = bench_ssl.COLLAPSE["SimSiam"], bench_ssl.COLLAPSE["SimSiam without stop-gradient"]
    assert full.training == no_stop.training
    assert vars(full.settings) | {"stop_gradient": False} == vars(no_stop.settings)
    dino, sharp = bench_ssl.COLLAPSE["DINO"], bench_ssl.COLLAPSE["DINO without sharpening"]
    student = dino.settings.student_temperature
    assert vars(dino.settings) | {"teacher_temperature": student} == vars(sharp.settings)


def test_walks_tell_the_truth_about_their_frames(tmp_path):
    seen = walks("test", 2, 2, 12, size=32, kept=tmp_path)
    assert seen.rgb.shape == (12, 4, 32, 32, 3)
    forward, turned = seen.motion[..., 0], seen.motion[..., 1]
    assert (seen.motion[0] == 0).all()
    assert seen.first[0].all()
    assert not seen.first[1:].any()
    assert forward.max() <= 0.25 + 1e-5
    steps = np.abs(turned[1:])
    assert np.isclose(steps, 0, atol=1e-4).any()
    np.testing.assert_allclose(steps[steps > 0.01], np.deg2rad(10), atol=1e-3)
    assert (forward[np.abs(turned) > 0.01] < 0.01).all(), "one action a step: nobody turns and walks at once"
    assert set(np.unique(seen.room)) <= set(range(-1, len(ROOMS)))
    assert 0 < seen.depth.min() <= seen.depth.max() <= 10
    still = (np.abs(forward[1:]) < 1e-6) & (np.abs(turned[1:]) < 1e-6)
    same = (seen.rgb[1:] == seen.rgb[:-1]).all((2, 3, 4))
    assert (same == still).all(), "a picture changes exactly when the body moves"
    again = walks("test", 2, 2, 12, size=32, kept=tmp_path)
    assert (again.rgb == seen.rgb).all()
    assert again.rooms == ROOMS
    other = walks("train", 2, 2, 3, size=32)
    assert not (other.rgb[:3] == seen.rgb[:3]).all()


def test_the_homes_probe_runs_every_encoder(tmp_path):
    found = bench_homes_probe.measure(HomesProbe(seeds=1, smoke=True, out=tmp_path))
    rooms = [row for row in found if row.unit == "room, linear probe"]
    assert {row.name for row in rooms} == {*bench_homes_probe.VIEWS, "supervised"} - {"temporal"}
    assert [row.name for row in rooms[0].controls] == [*bench_homes_probe.CONTROLS, "most common room"]
    assert {row.unit for row in found} == set(SCORES.values())


def test_the_supervised_control_ignores_places_without_a_room():
    outputs, objects = torch.randn(4, 5 + 6), torch.zeros(4, 6, dtype=torch.bool)
    room = torch.tensor([0, -1, 2, -1])
    changed = outputs.clone()
    changed[1, :5] += 3
    assert bench_homes_probe.taught(outputs, room, objects) == bench_homes_probe.taught(changed, room, objects)


def test_the_matrix_trains_and_judges_each_row_the_same_way(tmp_path, monkeypatch):
    chosen = [each for each in bench_matrix.COMBINATIONS if each.world == "grid"][:4]
    monkeypatch.setattr(bench_matrix, "COMBINATIONS", tuple(chosen))
    asked = Matrix(smoke=True, out=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = bench_matrix.measure(asked)
    assert [row.name for row in found] == [f"grid: dagger, {each.encoder}" for each in chosen]
    assert all(row.low <= row.value <= row.high for row in found)
    bars = {control.name: control.value for control in found[0].controls}
    assert bars.keys() == set(bench_matrix.REFERENCES)
    assert bars["expert"] == 1
    assert bars["constant"] == 0, "there is a corner to turn"
    folder = tmp_path / "smoke"
    assert Image.open(folder / "matrix.png").convert("L").getextrema()[0] < 100, "something is drawn"
    lines = [json.loads(line) for line in (folder / "seed0" / "matrix.jsonl").read_text().splitlines()]
    assert len({line["config_hash"] for line in lines}) == 4
    monkeypatch.setattr(bench_matrix, "judged", lambda *_: pytest.fail("run again"))
    assert bench_matrix.measure(asked) == found, "kept, not run again"


@pytest.mark.parametrize("side", [32, 64])
def test_the_matrix_compares_what_is_taught_and_not_networks(side):
    space = image_encoders.picture_space((side, side, 3))
    learnt = image_encoders.image_encoder(bench_matrix.PICTURE, space).state_dict()
    for name in ("end to end", "random, frozen"):
        (reads,) = build.encoder(bench_matrix.ENCODERS[name][0], space).parts.values()
        fresh = {key.removeprefix("encoder."): value.shape for key, value in reads.state_dict().items()}
        assert fresh == {key: value.shape for key, value in learnt.items()}


def test_rows_of_the_matrix_are_told_apart_and_cover_the_worlds():
    everything = bench_matrix.COMBINATIONS
    assert len({each.name for each in everything}) == len(everything)
    assert len({(each.world, each.says) for each in everything}) == len(everything)
    assert {each.world for each in bench_matrix.COMBINATIONS} == set(bench_matrix.WORLDS)
    assert all(each.encoder in bench_matrix.ENCODERS for each in bench_matrix.COMBINATIONS)
