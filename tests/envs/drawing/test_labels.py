"""Labels of images in homes and on roads: masks, boxes, cameras, optical flow, and bad input."""

from functools import cache

import numpy as np
import pytest

from embodia.envs.drawing.camera_geometry import intrinsics, project, unproject
from embodia.envs.drawing.labels import LabelledImage, box_corners_3d, category_mask, optical_flow
from embodia.envs.driving.learning.vector_env import DrivingVectorEnv
from embodia.envs.driving.sensors.camera import looking
from embodia.envs.driving.sensors.solids import FIRST_BUILDING, FIRST_TRACK
from embodia.envs.homes.env import HomesEnv
from embodia.envs.homes.vector_env import HomesVectorEnv
from embodia.tests.envs.driving.road import car, ego_history, join, scenario_on, synthetic_road


@cache
def homes():
    env = HomesVectorEnv(2, "ObjectNav", num_scenes=2, detail="low", height=48, width=64)
    env.reset(seed=[0, 1])
    return env


@cache
def roads():
    """A car that overtakes and turns, and one that stands."""
    moving = [car("moving", 14.0 + 1.1 * k, 1.75, heading=0.03 * k, velocity=(11.0, 0.0)) for k in range(25)]
    standing = [car("standing", 28.0, -5.5, 0.2) for _ in range(25)]
    frames = [join(*each) for each in zip(moving, standing)]
    scenario = scenario_on(synthetic_road(), ego_history(5.0, speed=4.0, num=25), frames)
    return DrivingVectorEnv(1, [scenario], camera_height=72, camera_width=96)


def drive():
    """Labelled images of three consecutive steps."""
    env = roads()
    env.reset(seed=0)
    images = [env.labels()[0]]
    for _ in range(2):
        env.step(np.zeros((1, 2), np.float32))
        images.append(env.labels()[0])
    return images


def seen():
    return [*homes().labels(), drive()[0]]


def test_boxes_and_areas_agree_with_masks():
    for image in seen():
        assert len(image.visible) >= 2
        for thing, (left, top, right, bottom), area in zip(image.visible, image.boxes, image.areas):
            rows, columns = np.nonzero(image.mask(thing.semantic_id))
            assert (left, top, right, bottom) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert area == len(rows)
            assert {image.categories[k] for k in image.category[rows, columns]} == {thing.category}


def test_3d_boxes_contain_the_points_of_their_objects():
    """Depth, intrinsics and pose give the points back; both worlds agree on the frames of camera and boxes."""
    for image in seen():
        points = unproject(image.depth, image.intrinsics[0, 0], image.camera_to_world)
        for thing in image.visible:
            local = (points[image.mask(thing.semantic_id)] - thing.center) @ thing.rotation
            assert (np.abs(local) <= thing.half_extents + 0.02).all(), thing.name


def test_projected_3d_boxes_contain_the_boxes_of_the_image():
    checked = 0
    for image in seen():
        for thing, box in zip(image.visible, image.boxes):
            pixels, depth = project(box_corners_3d(thing), image.intrinsics, image.camera_to_world)
            if (depth > 0.05).all():
                checked += 1
                assert (pixels.min(0) <= box[:2] + 1).all()
                assert (pixels.max(0) >= box[2:] - 1).all()
    assert checked >= 4


def test_projection_undoes_unprojection():
    rng = np.random.default_rng(0)
    depth, pose = rng.uniform(0.5, 30, (5, 7)), looking(np.array([[3.0, -2.0, 1.0]]), 0.7, 0.2)[0]
    matrix = intrinsics(5, 7, 70.0)
    pixels, back = project(unproject(depth, matrix[0, 0], pose), matrix, pose)
    np.testing.assert_allclose(back, depth)
    centres = np.stack(np.meshgrid(np.arange(7) + 0.5, np.arange(5) + 0.5), -1)
    np.testing.assert_allclose(pixels, centres, atol=1e-9)


def warped(first, second, flow, known):
    """Ids of the first image at known pixels, and those of the second where the flow leads."""
    rows, columns = np.nonzero(known)
    ends = np.floor(np.stack([columns, rows], -1) + 0.5 + flow[rows, columns]).astype(int)
    return (first.instance[rows, columns], second.instance[ends[:, 1], ends[:, 0]])


def test_flow_warps_one_frame_of_a_drive_onto_the_next():
    first, second, _ = drive()
    flow, known = optical_flow(first, second)
    ours, theirs = warped(first, second, flow, known)
    assert known.mean() > 0.4
    assert (ours == theirs).mean() > 0.97, "pixels at borders of objects may round to the other side"
    moving = first.mask(FIRST_TRACK) & known
    assert moving.sum() > 20
    assert np.abs(flow[moving]).max() > 0.3


def test_flow_of_a_moving_object_follows_its_box():
    """Pixels of a moving car end on the car; with the box left where it was, many end beside it."""
    first, _, third = drive()
    fields = {name: getattr(third, name) for name in LabelledImage.__dataclass_fields__}
    hits = []
    for later in (third, LabelledImage(**{**fields, "objects": first.objects})):
        flow, _ = optical_flow(first, later)
        pixels = first.mask(FIRST_TRACK) & (flow != 0).any(-1)
        assert pixels.sum() > 20
        ours, theirs = warped(first, third, flow, pixels)
        hits.append((ours == theirs).mean())
    assert hits[0] > 0.95
    assert hits[1] < hits[0] - 0.1


def test_flow_in_a_home_is_that_of_the_camera():
    env = HomesEnv(task="PointNav", num_scenes=1, detail="low", height=48, width=64)
    env.reset(seed=0)
    first = env.labels()
    env.step(2)
    second = env.labels()
    flow, known = optical_flow(first, second)
    ours, theirs = warped(first, second, flow, known)
    assert (ours == theirs).mean() > 0.97
    focal = first.intrinsics[0, 0]
    assert flow[24, 32, 0] == pytest.approx(focal * np.tan(np.radians(10)), rel=0.05)
    still, everywhere = optical_flow(first, first)
    np.testing.assert_allclose(still, 0, atol=1e-4)
    assert (everywhere == (first.depth > 0)).all()


def test_views_from_any_pose():
    env = roads()
    env.reset(seed=0)
    above = looking(np.array([[28.0, -5.5, 20.0]]), 0.0, -np.pi / 2)
    image = env.labels(camera_to_world=above)[0]
    assert image.instance[36, 48] == FIRST_TRACK + 1
    assert image.depth[36, 48] == pytest.approx(20 - 1.55, abs=0.02)
    np.testing.assert_array_equal(image.camera_to_world, above[0])
    assert all(each.category == "building" for each in image.objects if each.semantic_id >= FIRST_BUILDING)
    own = homes().labels([1])[0]
    again = homes().labels([1], own.camera_to_world[None])[0]
    np.testing.assert_array_equal(own.instance, again.instance)


def test_flow_where_nothing_is_known():
    """Depths of zero or NaN, and objects that left the scene: flow 0, and not known."""
    first, second, _ = drive()
    depth = first.depth.copy()
    depth[0], depth[1] = np.nan, 0
    gone = tuple(each for each in second.objects if each.semantic_id != FIRST_TRACK)
    fields = {name: getattr(first, name) for name in LabelledImage.__dataclass_fields__}
    spoiled = LabelledImage(**{**fields, "depth": depth})
    later = {name: getattr(second, name) for name in LabelledImage.__dataclass_fields__}
    flow, known = optical_flow(spoiled, LabelledImage(**{**later, "objects": gone}))
    lost = first.mask(FIRST_TRACK)
    lost[:2] = True
    assert not known[lost].any()
    assert (flow[lost] == 0).all()
    assert np.isfinite(flow).all()


def test_bad_input():
    image = drive()[0]
    fields = {name: getattr(image, name) for name in LabelledImage.__dataclass_fields__}
    with pytest.raises(ValueError, match="rgb has shape"):
        LabelledImage(**{**fields, "rgb": image.rgb[:5]})
    with pytest.raises(ValueError, match="pose must be a finite matrix"):
        LabelledImage(**{**fields, "camera_to_world": np.full((4, 4), np.nan)})
    with pytest.raises(ValueError, match="finite poses"):
        roads().labels(camera_to_world=np.full((1, 4, 4), np.inf))
    with pytest.raises(ValueError, match="finite poses"):
        homes().labels(camera_to_world=np.eye(4)[None])
    fresh = HomesVectorEnv(1, num_scenes=1, detail="low")
    with pytest.raises(RuntimeError, match="labels before reset"):
        fresh.labels()


def test_ids_without_an_object_have_category_0():
    ids = np.array([[0, 3, 7]])
    assert category_mask(ids, (), ("unlabelled",)).tolist() == [[0, 0, 0]]
    thing = homes().homes[0].objects[0]
    names = ("unlabelled", thing.category)
    assert category_mask(np.array([[0, thing.semantic_id]]), (thing,), names).tolist() == [[0, 1]]
