"""Value iteration networks that iterate to convergence: implicit gradients, contraction, learning, errors."""

import pytest
import torch

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.envs.control.grid_world import RECIPES, follow, grid_worlds
from embodia.planners.control.converged_value_iteration import ConvergedValueIterationNetwork
from embodia.planners.control.implicit_differentiation import FixedPointConfig
from embodia.planners.search.value_iteration_network import VINConfig
from embodia.planners.search.value_sweeps import backup
from embodia.scripts.bench.planning.vin_data import MapBatches, Mover


@pytest.fixture(scope="module")
def worlds():
    return grid_worlds(RECIPES[8], 24)


@pytest.mark.parametrize("backward", ["neumann", "cg", "gmres"])
def test_implicit_gradients_equal_unrolled_ones(worlds, backward):
    maps = torch.from_numpy(worlds.inputs())[:2].double()
    gradients = []
    for way in ("unrolled", backward):
        torch.manual_seed(0)
        solver = FixedPointConfig(backward=way, tolerance=1e-13)
        net = ConvergedValueIterationNetwork(config=VINConfig(hidden=3), discount=0.8, solver=solver).double()
        torch.manual_seed(1)
        for each in net.parameters():
            torch.nn.init.normal_(each)
        net(maps).square().sum().backward()
        gradients.append([each.grad for each in net.parameters()])
    for unrolled, implicit in zip(*gradients):
        torch.testing.assert_close(implicit, unrolled, rtol=1e-8, atol=1e-8)


def test_a_network_with_a_discount_contracts(worlds):
    net = ConvergedValueIterationNetwork(discount=0.7)
    torch.nn.init.normal_(net.from_value, std=3.0)
    _, reward, kernel = net.planned(torch.from_numpy(worlds.inputs()))
    one, other = (torch.randn(24, 1, 8, 8) for _ in range(2))
    apart = (backup(reward, kernel, one) - backup(reward, kernel, other)).abs().amax((1, 2, 3))
    assert (apart <= 0.7 * (one - other).abs().amax((1, 2, 3)) + 1e-5).all()


def test_a_map_in_a_batch_is_planned_as_alone(worlds):
    torch.manual_seed(0)
    net = ConvergedValueIterationNetwork(directions=2, discount=0.8)
    maps = torch.from_numpy(worlds.inputs())[:5]
    torch.testing.assert_close(net(maps), torch.cat([net(each[None]) for each in maps]), atol=1e-4, rtol=1e-4)


def test_learns_from_paths():
    worlds = grid_worlds(RECIPES[8], 240)
    train, test = worlds.part(0, 200), worlds.part(200, 240)
    torch.manual_seed(0)
    net = ConvergedValueIterationNetwork(discount=0.9)
    before = follow(test, Mover(net, test)).success.mean()
    config = FitConfig(steps=40, batch_size=20, learning_rate=1e-2, weight_decay=0.0, device="cpu", warmup=5)
    fit(net, MapBatches(train), config, logger=Logger(console=False))
    assert follow(test, Mover(net, test)).success.mean() > before + 0.2


@pytest.mark.parametrize(("discount", "tied"), [(1.0, True), (0.9, False)])
def test_a_discount_that_does_not_contract_is_an_error(discount, tied):
    with pytest.raises(ValueError, match="needs a discount between 0 and 1 and tied weights"):
        ConvergedValueIterationNetwork(config=VINConfig(tied=tied), discount=discount)
