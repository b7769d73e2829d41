"""Value iteration networks: exact value iteration by hand-set weights, compiled sweeps, gradients, learning, errors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.envs.control.grid_world import MOVES, RECIPES, follow, grid_worlds
from embodia.planners.search.reactive_map_policies import MapCNN, MapFCN
from embodia.planners.search.value_iteration import iterate_values
from embodia.planners.search.value_iteration_network import ValueIterationNetwork, VINConfig
from embodia.planners.search.value_sweeps import backup, sweep
from embodia.scripts.bench.planning.vin_data import MapBatches, Mover

DISCOUNT, STEP, PENALTY = 0.9, -0.1, -20.0


@pytest.fixture(scope="module")
def worlds():
    return grid_worlds(RECIPES[8], 24)


def hand_set(iterations):
    """A network whose Q channels are the eight moves: a cell pays for being entered, and v is discounted."""
    net = ValueIterationNetwork(config=VINConfig(iterations, hidden=1, q_channels=8))
    with torch.no_grad():
        for each in net.parameters():
            each.zero_()
        net.hidden.weight[0, :, 1, 1] = torch.tensor([PENALTY, 1.0])
        net.hidden.bias[:] = STEP
        net.reward.weight[:] = 1.0
        for q, (down, right) in enumerate(MOVES):
            net.from_reward[0, q, 0, 1 + down, 1 + right] = 1.0
            net.from_value[0, q, 0, 1 + down, 1 + right] = DISCOUNT
        net.read_out.weight.copy_(torch.eye(8))
    return net


def decision_process(maps):
    """The same problem of one map (2, H, W) as a finite process; the last state, off the map, gives nothing."""
    height, width = maps.shape[1:]
    pays = (STEP + PENALTY * maps[0] + maps[1]).flatten().double()
    cell = np.arange(height * width)
    there = np.stack([cell // width, cell % width], 1)[:, None] + MOVES
    inside = ((there >= 0) & (there < [height, width])).all(-1)
    outcome = np.where(inside, there @ [width, 1], height * width)
    outcome = torch.from_numpy(np.concatenate([outcome, np.full((1, 8), height * width)]))
    reward = torch.cat([pays, torch.zeros(1)])[outcome]
    return outcome[..., None], torch.ones(*outcome.shape, 1).double(), reward, torch.ones(outcome.shape).double()


def test_with_weights_set_by_hand_it_is_value_iteration(worlds):
    maps = torch.from_numpy(worlds.inputs())
    net = hand_set(250)
    q = net.q(maps).detach()
    for number in range(4):
        value, expected, _ = iterate_values(*decision_process(maps[number]), DISCOUNT, 1e-9, 1000)
        torch.testing.assert_close(net.values(maps)[number, 0].flatten().double(), value[:-1], atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(q[number].flatten(1).T.double(), expected[:-1], atol=1e-4, rtol=1e-5)
    assert follow(worlds, Mover(net, worlds)).success.all()


def test_a_few_iterations_do_not_see_a_far_goal_and_more_do():
    free = np.ones((12, 12), bool)
    free[[0, -1]] = free[:, [0, -1]] = False
    maps = torch.zeros(1, 2, 12, 12)
    maps[0, 0], maps[0, 1, 10, 10] = torch.from_numpy(~free), 10.0
    net, beside_goal, far = hand_set(4), torch.tensor([9 * 12 + 9]), torch.tensor([13])
    number = torch.tensor([0])
    assert net.best(maps)(number, beside_goal).item() == 4
    assert net.answer(maps)(number, far)[0, 4] < 0
    net.iterations = 12
    assert net.best(maps)(number, far).item() == 4
    assert net.answer(maps)(number, far)[0, 4] > 0


@pytest.mark.parametrize(("sets", "maps", "channels"), [(1, 1, 10), (6, 1, 10), (1, 4, 3)])
def test_compiled_sweeps_equal_convolutions(sets, maps, channels):
    generator = torch.Generator().manual_seed(0)
    reward = torch.randn(sets, 5, maps * channels, 7, 9, generator=generator).requires_grad_()
    kernel = (0.2 * torch.randn(sets, maps * channels, maps, 3, 3, generator=generator)).requires_grad_()
    weights = torch.randn(5, maps, 7, 9, generator=generator)
    value = torch.zeros(5, maps, 7, 9)
    for i in range(6):
        value = backup(reward[i % sets], kernel[i % sets], value)
    expected = torch.autograd.grad((value * weights).sum(), (reward, kernel))
    compiled = sweep(reward, kernel, 6)
    found = torch.autograd.grad((compiled * weights).sum(), (reward, kernel))
    torch.testing.assert_close(compiled, value)
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_tied_equals_untied_with_equal_weights(worlds):
    maps = torch.from_numpy(worlds.inputs())[:4]
    tied = ValueIterationNetwork(config=VINConfig(6))
    untied = ValueIterationNetwork(config=VINConfig(6, tied=False))
    with torch.no_grad():
        for name, each in untied.named_parameters():
            each.copy_(dict(tied.named_parameters())[name].expand_as(each))
    torch.testing.assert_close(untied(maps), tied(maps))
    assert sum(each.numel() for each in untied.parameters()) > sum(each.numel() for each in tied.parameters())


@pytest.mark.parametrize("config", [VINConfig(8), VINConfig(8, relu=True)])
def test_a_map_in_a_batch_is_planned_as_alone(worlds, config):
    torch.manual_seed(0)
    net = ValueIterationNetwork(directions=2, config=config)
    maps = torch.from_numpy(worlds.inputs())[:5]
    alone = torch.cat([net(each[None]) for each in maps])
    torch.testing.assert_close(net(maps), alone, atol=1e-4, rtol=1e-4)


def test_both_reward_layers_are_one_convolution(worlds):
    net, maps = ValueIterationNetwork(), torch.from_numpy(worlds.inputs())
    torch.testing.assert_close(net.rewards(maps), net.reward(net.hidden(maps)), atol=1e-6, rtol=1e-4)


def test_filters_that_span_the_map_equal_conv2d():
    net = MapFCN(2, (5, 7), hidden=4)
    for shape in ((5, 7), (9, 8)):
        maps = torch.randn(3, 2, *shape)
        first = F.relu(F.conv2d(maps, net.filters.flip(2, 3), net.bias, padding=(4, 6)))
        torch.testing.assert_close(net(maps), net.layers(first.movedim(1, -1)), atol=1e-5, rtol=1e-4)


def test_the_cnn_reads_the_agents_state(worlds):
    net = MapCNN(2, (8, 8), moves=3, directions=4)
    maps = torch.from_numpy(worlds.inputs())[:2]
    number, state = torch.tensor([0, 1, 1]), torch.tensor([41, 41, 255])
    table = net(maps).view(2, 256, 3)
    torch.testing.assert_close(net.answer(maps)(number, state), table[number, state])
    assert not torch.allclose(table[0, 40], table[0, 41]), "another direction is another state"


KINDS = {
    "vin": (lambda: ValueIterationNetwork(config=VINConfig(8)), 1e-2, 20),
    "fcn": (lambda: MapFCN(2, (8, 8)), 1e-2, 10),
    "cnn": (lambda: MapCNN(2, (8, 8)), 1e-3, 6),
}


@pytest.mark.parametrize("name", KINDS)
def test_learns_from_paths(name):
    kind, rate, batch = KINDS[name]
    worlds = grid_worlds(RECIPES[8], 240)
    train, test = worlds.part(0, 200), worlds.part(200, 240)
    torch.manual_seed(0)
    net = kind()
    held_out = MapBatches(test).batch(40)
    loss, success = net.loss(held_out)[0].item(), follow(test, Mover(net, test)).success.mean()
    config = FitConfig(steps=40, batch_size=batch, learning_rate=rate, weight_decay=0.0, device="cpu", warmup=5)
    fit(net, MapBatches(train), config, logger=Logger(console=False))
    assert net.loss(held_out)[0].item() < loss - 0.15
    if name == "vin":
        assert follow(test, Mover(net, test)).success.mean() > success + 0.2


def test_bad_input_is_named():
    net, maps = ValueIterationNetwork(), torch.zeros(2, 2, 8, 8)
    empty = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(ValueError, match="0 labelled states"):
        net.loss({"maps": maps, "number": empty, "state": empty, "move": empty})
    one = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"maps \(2, 3, 8, 8\); give at least one state, and maps \(B, 2, H, W\)"):
        net.loss({"maps": torch.zeros(2, 3, 8, 8), "number": one, "state": one, "move": one})
    untied = ValueIterationNetwork(config=VINConfig(4, tied=False))
    untied.iterations = 8
    with pytest.raises(ValueError, match="weights for 4 iterations, not for 8"):
        untied(maps)
    for wrong in ({"iterations": 0}, {"q_channels": 300}):
        with pytest.raises(ValueError, match="give at least 1, and at most 255 q_channels"):
            VINConfig(**wrong)
