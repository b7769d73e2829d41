"""Bird's-eye pictures: what must be seen is there, where it must be."""

import numpy as np
import pytest

from embodia.envs.driving.pictures.render import (
    AGENTS,
    ASPHALT,
    EGO,
    GROUND,
    PLAN,
    ROUTE,
    STANDING,
    BirdsEye,
    View,
    contact_sheet,
)
from embodia.envs.driving.types import TrackedObjectType, Tracks
from embodia.tests.envs.driving.road import car, ego_history, join

VIEW = View(300, 300, 60.0)


def near(image, color, tolerance=30):
    return np.all(np.abs(image.astype(int) - color) < tolerance, axis=-1)


@pytest.fixture(scope="module")
def picture(road_map):
    return BirdsEye(road_map, np.array([[60.0, -1.75]]), view=VIEW)


def test_the_ego_is_where_the_view_puts_it(picture):
    ego = ego_history(60.0)[0]
    rows, columns = np.nonzero(near(picture.draw(ego, Tracks.empty()), EGO))
    front = VIEW.height * VIEW.ego_at - 4.049 * VIEW.scale
    assert columns.mean() == pytest.approx(150, abs=2)
    assert rows.min() == pytest.approx(front, abs=2)


def test_heading_up_puts_the_left_lane_on_the_left(picture):
    ego = ego_history(60.0)[0]
    tracks = join(car("left", 75.0, 1.75, velocity=(5.0, 0.0)), car("ahead", 75.0, -1.75))
    image = picture.draw(ego, tracks)
    moving = np.nonzero(near(image, AGENTS[TrackedObjectType.VEHICLE], 12))
    still = np.nonzero(near(image, STANDING, 12))
    assert moving[1].mean() < 140
    assert still[1].mean() == pytest.approx(150, abs=4)
    assert moving[0].mean() < VIEW.height * VIEW.ego_at - 40


def test_road_and_ground_have_their_colours(picture):
    image = picture.draw(ego_history(60.0)[0], Tracks.empty())
    assert near(image, ASPHALT, 4)[:, 130:160].mean() > 0.4
    assert near(image, GROUND, 4)[:, :80].mean() > 0.95


def test_the_plan_and_the_route_are_drawn(road_map):
    ego = ego_history(60.0)[0]
    plain = BirdsEye(road_map, ego[None], (), VIEW).draw(ego, Tracks.empty())
    guided = BirdsEye(road_map, ego[None], ("10",), VIEW).draw(ego, Tracks.empty(), planned=ego_history(60.0)[:, :2])
    assert near(guided, PLAN).sum() > 300
    greener = guided[..., 1].astype(int) - guided[..., 0] > plain[..., 1].astype(int) - plain[..., 0] + 5
    assert ROUTE[1] > ROUTE[0]
    assert greener.mean() > 0.03


def test_a_contact_sheet_has_room_for_every_picture():
    sheet = contact_sheet([np.zeros((50, 80, 3), np.uint8)] * 5, list("abcde"), columns=3)
    assert np.all(sheet == 0, axis=-1).sum() >= 5 * 50 * 80
    assert sheet.shape[1] == 3 * 88 + 8
