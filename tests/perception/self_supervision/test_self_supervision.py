"""Tests of self-supervision: loss values, gradients, teachers, and a short training."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from embodia.perception.encoders.conv_net import ConvNet
from embodia.perception.encoders.resnet import ResNet
from embodia.perception.encoders.vit import ViT
from embodia.perception.pictures.shapes10 import SPACE, shapes10
from embodia.perception.scores.collapse import effective_rank, sphere_std
from embodia.perception.scores.probe import (
    area_under_roc,
    correlation,
    feature_maps,
    knn_probe,
    linear_probe,
    presence_probe,
    principal_axes,
    ridge_probe,
    summaries,
)
from embodia.perception.self_supervision.augmentation import Augmentation
from embodia.perception.self_supervision.barlow_twins import BarlowTwins, barlow_loss
from embodia.perception.self_supervision.byol import BYOL, regression
from embodia.perception.self_supervision.dino import DINO, DINOConfig, distillation, sinkhorn
from embodia.perception.self_supervision.joint_embedding import projector
from embodia.perception.self_supervision.mae import MAE, normalised
from embodia.perception.self_supervision.simclr import SimCLR, nt_xent
from embodia.perception.self_supervision.simsiam import SimSiam, negative_cosine
from embodia.perception.self_supervision.teacher import Teacher
from embodia.perception.self_supervision.vicreg import VICReg, covariance, variance
from embodia.perception.self_supervision.views import Views


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def small():
    return ResNet(SPACE, dim=32, width=8, blocks=(1, 1))


METHODS = {
    "simclr": lambda: SimCLR(small(), widths=(32, 16)),
    "byol": lambda: BYOL(small(), widths=(32, 16), hidden=32),
    "simsiam": lambda: SimSiam(small(), widths=(32, 16), bottleneck=8),
    "vicreg": lambda: VICReg(small(), widths=(32, 32)),
    "barlow_twins": lambda: BarlowTwins(small(), widths=(32, 32)),
    "dino": lambda: DINO(small(), config=DINOConfig(prototypes=32, hidden=32, bottleneck=16, frozen_updates=0)),
    "dino_vit": lambda: DINO(
        ViT(SPACE, dim=16, depth=1, num_heads=2),
        config=DINOConfig(prototypes=32, hidden=32, bottleneck=16, local_size=16, frozen_updates=0),
    ),
    "mae": lambda: MAE(ViT(SPACE, dim=16, depth=1, num_heads=2), width=16, depth=1, num_heads=2),
}
LOSSES = {
    "nt_xent": lambda a, b: nt_xent(a, b, 0.5),
    "regression": regression,
    "negative_cosine": negative_cosine,
    "barlow": lambda a, b: barlow_loss(a, b, 0.01),
    "vicreg": lambda a, b: variance(a) + variance(b) + covariance(a) + covariance(b) + nn.functional.mse_loss(a, b),
}


@pytest.mark.parametrize("name", METHODS)
def test_the_encoder_learns_and_the_teacher_does_not(name):
    method = METHODS[name]()
    loss, logged = method.loss({"obs": {"image": shapes10(12, 0)[0]}})
    loss.backward()
    assert loss.ndim == 0
    assert all(value.ndim == 0 and torch.isfinite(value) for value in logged.values())
    assert sum(p.grad.abs().sum() for p in method.encoder.parameters() if p.grad is not None) > 0
    assert all(p.grad is None for n, p in method.named_parameters() if n.startswith("teacher"))
    tokens = method({"image": shapes10(6, 1)[0].view(2, 3, 32, 32, 3)})
    assert tokens.shape == (2, 3, method.num_tokens, method.dim)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_do_not_care_about_the_order_of_the_batch(name):
    a, b, order = torch.randn(8, 5), torch.randn(8, 5), torch.randperm(8)
    torch.testing.assert_close(LOSSES[name](a[order], b[order]), LOSSES[name](a, b))


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_match_finite_differences(name):
    a, b = (torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(LOSSES[name], (a, b))


def test_nt_xent_at_its_minimum():
    """With equal views and orthogonal images the loss is -log e^(1/tau) / (e^(1/tau) + 2 N - 2)."""
    z, tau = torch.eye(6), 0.3
    expected = -math.log(math.exp(1 / tau) / (math.exp(1 / tau) + 10))
    assert nt_xent(z, 3 * z, tau).item() == pytest.approx(expected, rel=1e-5)


def test_barlow_and_vicreg_at_their_minimum():
    z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])  # uncorrelated, deviation 1
    assert barlow_loss(z, 2 * z + 1, 0.005).item() == pytest.approx(0, abs=1e-6)
    assert barlow_loss(z, z.flip(1), 0.005).item() == pytest.approx(2 + 2 * 0.005, rel=1e-4)
    assert covariance(z).item() == 0
    assert variance(z).item() == 0  # unbiased deviation 1.15
    assert variance(torch.zeros(4, 2)).item() == pytest.approx(1 - 0.01)
    assert covariance(z[:, [0, 0]]).item() == pytest.approx(2 * (4 / 3) ** 2 / 2)


def test_cosine_losses_at_their_minimum():
    z = torch.randn(5, 4)
    assert regression(z, 7 * z).item() == pytest.approx(0, abs=1e-6)
    assert negative_cosine(z, -z).item() == pytest.approx(1)


def test_simsiam_stops_the_gradient_of_the_target():
    """Without a predictor both views use the same network; the stopped gradient halves each side's gradient."""
    one, other = torch.randn(8, 3, 32, 32), torch.randn(8, 3, 32, 32)
    method = SimSiam(small(), widths=(32, 16), predict=False)
    gradients = []
    for stop in (True, False):
        method.stop_gradient = stop
        method.zero_grad()
        method.compare(one, other)[0].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in method.projector.parameters()]))
    torch.testing.assert_close(2 * gradients[0], gradients[1], atol=1e-6, rtol=1e-3)


def test_a_teacher_is_the_moving_average_in_closed_form():
    student = nn.Linear(3, 2)
    before = student.weight.detach().clone()
    teacher = Teacher(student, momentum=0.9)
    with torch.no_grad():
        student.weight += 1
    for _ in range(5):
        teacher.follow(student)
    torch.testing.assert_close(teacher.module.weight, before + 1 - 0.9**5)


def test_momentum_rises_to_one():
    teacher = Teacher(nn.Linear(2, 2), momentum=0.9, steps=10)
    momenta = []
    for _ in range(11):
        momenta.append(teacher.present_momentum())
        teacher.follow(nn.Linear(2, 2))
    assert momenta[0] == pytest.approx(0.9)
    assert momenta[5] == pytest.approx(0.95)
    assert momenta[10] == 1.0
    assert momenta == sorted(momenta)


def test_byol_learns_towards_its_teacher_and_the_teacher_follows():
    method = METHODS["byol"]()
    before = {name: value.clone() for name, value in method.teacher.module.state_dict().items()}
    optimizer = torch.optim.SGD(method.parameters(), 0.1)
    method.loss({"obs": {"image": shapes10(8, 0)[0]}})[0].backward()
    optimizer.step()
    method.after_update()
    for name, value in method.teacher.module.encoder.state_dict().items():
        expected = 0.99 * before[f"encoder.{name}"] + 0.01 * method.encoder.state_dict()[name]
        torch.testing.assert_close(value, expected)


def test_distillation_leaves_out_a_view_with_itself():
    target = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])]
    scores = [torch.tensor([[0.0, 0.0]]), torch.tensor([[10.0, 0.0]])]
    # target 0 with score 1: 0; target 1 with score 0: log 2
    assert distillation(target, scores, 1.0).item() == pytest.approx(math.log(2) / 2, abs=1e-4)


def test_dino_centre_is_the_moving_mean_of_the_teacher():
    method = METHODS["dino"]()
    scores = torch.randn(8, 32)
    for _ in range(3):
        method._move_centre(scores)
    torch.testing.assert_close(method.centre, (1 - 0.9**3) * scores.mean(0))
    centred = method.sharpened(scores)
    torch.testing.assert_close(centred, ((scores - method.centre) / 0.04).softmax(1))
    assert method.head(torch.randn(4, 32)).abs().max() <= 1 + 1e-6  # cosines


def test_dino_keeps_the_teachers_encoder():
    method = DINO(small(), config=DINOConfig(prototypes=16, hidden=16, bottleneck=8, batch_norm=True))
    assert method.kept is method.teacher.module.encoder
    assert METHODS["byol"]().kept is not METHODS["byol"]().teacher.module.encoder
    byol = METHODS["byol"]()
    assert byol.kept is byol.encoder


def test_sinkhorn_gives_every_prototype_an_equal_share():
    logits = torch.randn(64, 8) + 5 * torch.eye(8)[0]  # without sinkhorn the first takes nearly all
    balanced = sinkhorn(logits, rounds=50)
    torch.testing.assert_close(balanced.sum(1), torch.ones(64))
    torch.testing.assert_close(balanced.sum(0), torch.full((8,), 8.0), atol=1e-3, rtol=0)
    assert logits.softmax(1).sum(0)[0] > 50
    torch.testing.assert_close(sinkhorn(logits + 3 * torch.randn(8), rounds=50), balanced, atol=1e-4, rtol=1e-3)
    method = DINO(small(), config=DINOConfig(prototypes=8, hidden=16, bottleneck=8, centring="sinkhorn"))
    torch.testing.assert_close(method.sharpened(logits), sinkhorn(logits / 0.04))


def test_dino_prototypes_stand_still_at_first():
    settings = DINOConfig(prototypes=16, hidden=16, bottleneck=8, frozen_updates=2)
    method = DINO(small(), config=settings)
    moved = []
    for _ in range(3):
        method.loss({"obs": {"image": shapes10(4, 0)[0]}})[0].backward()
        moved.append(method.head.prototypes.grad is not None)
        method.after_update()
    assert moved == [False, False, True]
    again = DINO(small(), config=settings)
    again.load_state_dict(method.state_dict())
    again.loss({"obs": {"image": shapes10(4, 0)[0]}})[0].backward()
    assert again.head.prototypes.grad is not None, "resumed, it knows how far it was"


def test_mae_is_scored_on_hidden_patches_alone_and_sees_only_visible_ones():
    method = MAE(ViT(SPACE, dim=16, depth=2, num_heads=2, patch_size=8), width=16, depth=1, num_heads=2)
    images = torch.rand(2, 3, 32, 32) - 0.5
    order = torch.arange(16).flip(0).expand(2, -1)  # the last four are seen
    painted, _ = method.reconstruct(images, order)
    changed = images.clone()
    changed[:, :, :24] += torch.rand(2, 3, 24, 32)  # rows of patches that are hidden
    painted_again, _ = method.reconstruct(changed, order)
    assert painted.shape == (2, 16, 3 * 64)
    torch.testing.assert_close(painted, painted_again)
    method.shuffle = lambda n, device: order
    obs = {"image": torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)}
    truth = normalised(method.patches(method.encoder.images(obs)[0]))
    expected = (method.reconstruct(method.encoder.images(obs)[0], order)[0] - truth)[:, :12].square().mean()
    torch.testing.assert_close(method.loss({"obs": obs})[0], expected)


def test_mae_patches_lie_as_the_encoders():
    method = MAE(ViT(SPACE, dim=16, depth=1, num_heads=2, patch_size=8))
    images = torch.rand(1, 3, 32, 32)
    third = method.patches(images)[0, 4 * 1 + 2].view(3, 8, 8)
    torch.testing.assert_close(third, images[0, :, 8:16, 16:24])
    assert normalised(method.patches(images)).var(2).sub(1).abs().max() < 1e-3


def test_effective_rank_and_spread():
    assert effective_rank(torch.outer(torch.randn(50), torch.randn(8))).item() == pytest.approx(1, abs=1e-3)
    ball = torch.randn(20_000, 8)
    assert effective_rank(ball).item() == pytest.approx(8, rel=0.01)
    assert sphere_std(ball).item() == pytest.approx(1, rel=0.02)
    assert sphere_std(torch.ones(10, 8)).item() == pytest.approx(0, abs=1e-6)
    assert effective_rank(torch.full((4, 3), float("nan"))).isnan()


def test_probes_read_what_is_there():
    labels, test_labels = torch.arange(300) % 3, torch.arange(90) % 3
    noise = torch.randn(390, 6)
    features = torch.cat([nn.functional.one_hot(torch.cat([labels, test_labels]), 3) * 4.0, noise], 1)
    train, test = features[:300], features[300:]
    assert linear_probe(train, labels, test, test_labels) == 1.0
    assert knn_probe(train, labels, test, test_labels) > 0.95
    assert linear_probe(train[:, 3:], labels, test[:, 3:], test_labels) < 0.55
    values = torch.stack([2 * features[:, 0] - features[:, 4], torch.randn(390)], 1)
    known, unknown = ridge_probe(train, values[:300], test, values[300:]).tolist()
    assert known > 0.999
    assert unknown < 0.1


def test_a_ridge_weight_is_chosen_on_groups_left_out():
    """Features that identify the group say nothing about other groups; leaving out single rows overrates them."""
    group = torch.arange(80).repeat_interleave(5)
    x = torch.randn(80, 30)[group] + 0.1 * torch.randn(400, 30)
    value = torch.randn(80, 1)[group]
    fit = group < 40
    by_group = ridge_probe(x[fit], value[fit], x[~fit], value[~fit], group[fit])
    by_row = ridge_probe(x[fit], value[fit], x[~fit], value[~fit])
    assert -0.3 < by_group < 0.1
    assert by_row < -0.5


def test_own_motion_is_in_the_correlation_of_places_and_not_in_two_frames_side_by_side():
    """Textures that move one cell to the left, to the right, or not at all."""
    moved = torch.randint(-1, 2, (600,))
    texture = torch.randn(600, 4, 8, 6)
    before = texture[:, :, 2:6]
    after = torch.stack([each[:, 2 - shift : 6 - shift] for each, shift in zip(texture, moved.tolist())])
    values = moved[:, None].float()

    def known(x):
        return ridge_probe(x[:400], values[:400], x[400:], values[400:]).item()

    found = correlation(before, after)
    assert found.shape == (600, 16 * 9)
    assert known(found) > 0.9
    assert known(torch.cat([before, after], 3).flatten(1)) < 0.1


def test_a_feature_that_holds_the_pose_tells_own_motion_exactly():
    """Features of an oracle: two poses, in two units, with 30 dimensions of noise."""
    motion = torch.randn(400, 2)
    before = torch.randn(400, 2)
    noise = torch.randn(400, 30)
    x = torch.cat([before * 0.01, (before + motion) * 0.01, noise], 1)
    assert (ridge_probe(x[:200], motion[:200], x[200:], motion[200:]) > 0.999).all()


def test_feature_maps_lie_as_the_picture():
    encoder = ConvNet(SPACE, (8, 8), (2, 2)).eval()
    with torch.no_grad():
        places = encoder.body(encoder.images({"image": shapes10(3, 0)[0]})[0])
    found = feature_maps(encoder, {"image": shapes10(3, 0)[0]}, batch=2)
    torch.testing.assert_close(found, places.permute(0, 2, 3, 1))


def test_presence_is_scored_by_the_area_under_the_roc_curve():
    scores = torch.tensor([0.9, 0.8, 0.7, 0.7, 0.1])
    present = torch.tensor([True, False, True, False, False])
    # pairs won: 3 of 3 for 0.9; 0.7 beats 0.1, ties with 0.7, loses to 0.8
    assert area_under_roc(scores, present).item() == pytest.approx((3 + 1.5) / 6)
    assert area_under_roc(scores, torch.ones(5, dtype=torch.bool)).isnan()
    x = torch.randn(400, 4)
    things = torch.stack([x[:, 0] + x[:, 1] > 1.5, torch.rand(400) < 0.1], 1)
    known, unknown = presence_probe(x[:200], things[:200], x[200:], things[200:]).tolist()
    assert known > 0.98
    assert 0.25 < unknown < 0.75


def test_neighbours_are_those_of_the_features_as_they_are_or_of_standardised_ones():
    """A large uninformative dimension hides a small informative one until both are standardised."""
    labels = torch.arange(200) % 2
    loud, quiet = 100 * torch.randn(200, 2), labels[:, None] - 0.5 + 0.05 * torch.randn(200, 1)
    x = torch.cat([loud, quiet], 1)
    assert knn_probe(x[:150], labels[:150], x[150:], labels[150:]) > 0.9
    assert knn_probe(x[:150], labels[:150], x[150:], labels[150:], standardised=False) < 0.75


def test_summaries_are_read_in_pieces_and_leave_the_encoder_as_it_was():
    encoder = ConvNet(SPACE, (8, 8), (2, 2)).train()
    pictures = shapes10(10, 0)[0]
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    torch.testing.assert_close(
        summaries(encoder, {"image": pictures}, batch=3), summaries(encoder, {"image": pictures.numpy()})
    )
    assert encoder.training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_principal_axes_are_those_of_an_independent_implementation():
    sklearn = pytest.importorskip("sklearn.decomposition")
    x = torch.randn(60, 8) @ torch.randn(8, 8)
    mean, axes = principal_axes(x, 3)
    theirs = sklearn.PCA(3).fit_transform(x.numpy())
    np.testing.assert_allclose(((x - mean) @ axes).abs().numpy(), np.abs(theirs), atol=1e-3)


def test_heads_keep_their_digits_under_autocast():
    head = projector(8, (8, 4))
    x = torch.randn(6, 8)
    with torch.autocast("cpu", torch.bfloat16):
        inside = head(x.bfloat16())
        assert (nn.Linear(8, 4)(x)).dtype == torch.bfloat16
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, head(x.bfloat16().float()))


def test_time_pairs_frames_of_one_episode():
    frames = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1, 1).expand(5, 2, 32, 32, 3)
    first = torch.zeros(5, 2, dtype=torch.bool)
    first[0] = True
    first[3, 1] = True  # environment 1 starts a new episode at frame 3
    encoder = small()
    one, other = Views(None, gap=1).pair(encoder, {"obs": {"image": frames}, "first": first})
    pairs = [tuple(round((x[0, 0, 0].item() + 0.5) * 255) for x in pair) for pair in zip(one, other)]
    assert sorted(pairs) == [(0, 1), (0, 1), (1, 2), (1, 2), (2, 3), (3, 4), (3, 4)]
    with pytest.raises(ValueError, match="need rows"):
        Views(None, gap=1).pair(encoder, {"obs": {"image": frames[0]}})
    with pytest.raises(ValueError, match="set gap or an augmentation"):
        Views(None)


def test_augmentation_without_strength_changes_nothing():
    still = Augmentation((1.0, 1.0), flip=0, colour=0, brightness=0, grey=0, blur=0, noise=0)
    images = torch.rand(3, 3, 20, 24) - 0.5
    torch.testing.assert_close(still(images), images, atol=1e-5, rtol=1e-4)
    assert still(images, 12).shape == (3, 3, 12, 12)


def test_augmentation_turns_mirrors_and_greys():
    images = torch.rand(1, 3, 16, 16) - 0.5
    quiet = {"scale": (1.0, 1.0), "colour": 0, "brightness": 0, "grey": 0, "blur": 0, "noise": 0}
    torch.testing.assert_close(Augmentation(flip=1, **quiet)(images), images.flip(3), atol=1e-5, rtol=1e-4)
    grey = Augmentation(flip=0, **{**quiet, "grey": 1.0})(images)
    torch.testing.assert_close(grey, images.mean(1, keepdim=True).expand_as(images), atol=1e-5, rtol=1e-4)
    turned = Augmentation(flip=0, rotation=180, **quiet)(images.expand(64, -1, -1, -1))
    assert turned.std(0).mean() > 0.05  # each image has its own angle


def test_a_little_training_finds_the_other_view():
    """After 100 updates of SimCLR on 16x16 images, more images are nearest to their own second view."""
    space = spaces.Dict({"image": spaces.Box(0, 255, (16, 16, 3), np.uint8)})
    train, test = shapes10(640, 0, size=16)[0], shapes10(128, 1, size=16)[0]
    views = Views(Augmentation((0.6, 1.0), colour=0.15, brightness=0.1, grey=0))
    encoder = ResNet(space, dim=32, width=16, blocks=(1, 1, 1), tokens="grid")
    method = SimCLR(encoder, views, widths=(64, 32))

    @torch.no_grad()
    def found():
        torch.manual_seed(1)
        pair = [encoder.summary(view) for view in views.pair(encoder, {"obs": {"image": test}})]
        one, other = (nn.functional.normalize(h - h.mean(0), dim=1) for h in pair)
        return (one @ other.T).argmax(1).eq(torch.arange(len(test))).float().mean().item()

    before = found()
    optimizer = torch.optim.AdamW(method.parameters(), 3e-3, fused=True)
    for step in range(100):
        optimizer.zero_grad()
        method.loss({"obs": {"image": train[(torch.arange(64) + 64 * step) % len(train)]}})[0].backward()
        optimizer.step()
    assert before < 0.1
    assert found() > 0.15
