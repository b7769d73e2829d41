"""Episode files: written as Habitat reads them, read as Habitat writes them, and clear about what is wrong."""

import gzip
import json
from itertools import pairwise

import numpy as np
import pytest

from embodia.envs.homes.episodes.dataset import (
    HM3D_CATEGORIES,
    Episode,
    EpisodeDataset,
    EpisodeError,
    EpisodeIterator,
    Goal,
    ImageGoal,
    ViewPoint,
    read_episodes,
    resolve_scene,
    write_episodes,
)

POINT = {
    "episode_id": "7",
    "scene_id": "data/scene_datasets/gibson/Adrian.glb",
    "start_position": [1.0, 0.1, -2.0],
    "start_rotation": [0.0, 0.7071067811865475, 0.0, 0.7071067811865476],
    "info": {"geodesic_distance": 6.5, "difficulty": "easy"},
    "goals": [{"position": [3.0, 0.1, 2.5], "radius": 0.2}],
    "start_room": None,
    "shortest_paths": None,
}
CHAIR = Goal(
    (1.0, 0.5, 2.0),
    object_id=12,
    object_name="chair_12",
    object_category="chair",
    view_points=(ViewPoint((1.0, 0.1, 1.2), (0.0, 0.0, 0.0, 1.0), 0.25), ViewPoint((0.4, 0.1, 2.0))),
)


def write(path, top):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps(top).encode()))
    return path


def episode(number, scene="hm3d/val/00800-X/X.basis.glb", **more):
    return Episode(str(number), scene, (0.0, 0.1, float(number)), (0.0, 0.0, 0.0, 1.0), **more)


def test_point_nav_with_content_files(tmp_path):
    split = write(tmp_path / "val" / "val.json.gz", {"episodes": []})
    for name in ("B", "A"):
        top = {"episodes": [{**POINT, "episode_id": name, "scene_id": f"gibson/{name}.glb"}]}
        write(tmp_path / "val" / "content" / f"{name}.json.gz", top)
    dataset = read_episodes(split)
    assert dataset.kind == "PointNav-v1"
    assert [e.episode_id for e in dataset.episodes] == ["A", "B"], "content files in sorted order"
    assert dataset.episodes[0].goals == (Goal((3.0, 0.1, 2.5), radius=0.2),)
    assert dataset.episodes[0].info["difficulty"] == "easy"
    assert len(read_episodes(split, content_scenes=["B"])) == 1
    with pytest.raises(EpisodeError, match=r"no episodes of \['C'\]; it has \['A', 'B'\]"):
        read_episodes(split, content_scenes=["C"])


@pytest.mark.parametrize("by_scene", [False, True])
def test_object_nav_there_and_back(tmp_path, by_scene):
    episodes = (
        episode(0, goals=(CHAIR,), object_category="chair", info={"geodesic_distance": 2.0}),
        episode(1, goals=(CHAIR,), object_category="chair"),
    )
    dataset = EpisodeDataset(episodes, "ObjectNav-v1", dict(HM3D_CATEGORIES), dict(HM3D_CATEGORIES))
    path = tmp_path / "val" / "val.json.gz"
    write_episodes(path, dataset, by_scene=by_scene)
    assert read_episodes(path) == dataset
    file = tmp_path / "val" / "content" / "X.json.gz" if by_scene else path
    raw = json.loads(gzip.decompress(file.read_bytes()))
    assert list(raw["goals_by_category"]) == ["X.basis.glb_chair"], "Habitat's key keeps the extension"
    assert raw["episodes"][0]["goals"] == []
    view = raw["goals_by_category"]["X.basis.glb_chair"][0]["view_points"][0]
    assert view == {"agent_state": {"position": [1.0, 0.1, 1.2], "rotation": [0.0, 0.0, 0.0, 1.0]}, "iou": 0.25}


def test_object_nav_as_older_files_have_it(tmp_path):
    """Inline goals, the first episode of a key holding for all; ids overwritten with the running number."""
    goal = {"position": [1, 0.5, 2], "object_id": 12, "view_points": []}
    base = {**POINT, "object_category": "chair", "episode_id": "99"}
    later = {**base, "goals": [{**goal, "object_id": 13}]}
    maps = {"category_to_task_category_id": {"chair": 0}, "category_to_mp3d_category_id": {"chair": 3}}
    path = write(tmp_path / "val.json.gz", {"episodes": [{**base, "goals": [goal]}, later], **maps})
    dataset = read_episodes(path)
    assert [e.episode_id for e in dataset.episodes] == ["0", "1"]
    assert [e.goals[0].object_id for e in dataset.episodes] == [12, 12]
    assert (dataset.category_ids, dataset.annotation_ids) == ({"chair": 0}, {"chair": 3})


def test_instance_image_nav_there_and_back(tmp_path):
    image = ImageGoal((1.0, 1.3, 1.0), (0.0, 0.0, 0.0, 1.0), 75.0, (512, 512), 0.2, 0.9)
    goal = Goal(**{**vars(CHAIR), "image_goals": (image,), "object_surface_area": 1.5})
    one = episode(0, goals=(goal,), object_category="chair", goal_object_id=12, goal_image_id=0)
    dataset = EpisodeDataset((one,), "InstanceImageNav-v1")
    write_episodes(tmp_path / "val.json.gz", dataset)
    assert read_episodes(tmp_path / "val.json.gz") == dataset
    raw = json.loads(gzip.decompress((tmp_path / "val.json.gz").read_bytes()))
    assert list(raw["goals"]) == ["X_12"], "Habitat's key drops .basis.glb"


def test_the_same_data_set_gives_the_same_bytes(tmp_path):
    dataset = EpisodeDataset((episode(0, goals=(CHAIR,)),))
    write_episodes(tmp_path / "a.json.gz", dataset)
    write_episodes(tmp_path / "b.json.gz", dataset)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def broken(**changes):
    return {"episodes": [{name: value for name, value in {**POINT, **changes}.items() if value != "gone"}]}


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ([], 'must be an object with a list "episodes"'),
        ({"episodes": []}, "holds no episodes"),
        ({"episodes": ["x"]}, r"episode 0: an episode must be an object, not str"),
        (broken(start_position="gone"), r'episode 0 \(7\): field "start_position" is missing'),
        (broken(start_position=[0, 1]), r'field "start_position" is \[0, 1\]; it must be 3 finite numbers'),
        (broken(start_position=[0, 1, float("nan")]), "3 finite numbers"),
        (broken(start_rotation=[0, 0, 0, 2]), r"must be a unit quaternion \[x, y, z, w\]"),
        (broken(scene_id="gone"), r'episode 0: field "scene_id" is missing'),
        (broken(goals=[]), "it has no goals"),
        (broken(goals=[{"radius": 1}]), r'goals\[0\]: field "position" is missing'),
        ({**broken(goals=[], object_category="bed"), "goals_by_category": {"a": []}}, r"has no 'Adrian\.glb_bed'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, top, message):
    path = write(tmp_path / "val.json.gz", top)
    with pytest.raises(EpisodeError, match=message) as caught:
        read_episodes(path)
    assert "val.json.gz" in str(caught.value)


def test_torn_and_missing_files(tmp_path):
    path = write(tmp_path / "val.json.gz", broken())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(EpisodeError, match=r"val\.json\.gz is not a whole gzip JSON file"):
        read_episodes(path)
    with pytest.raises(EpisodeError, match="No episode file at"):
        read_episodes(tmp_path / "test.json.gz")


def test_scenes_are_found_as_habitat_finds_them(tmp_path):
    named = Episode("7", POINT["scene_id"], (0, 0, 0), (0, 0, 0, 1))
    with pytest.raises(EpisodeError, match=r"'7' names scene 'data/scene_datasets/gibson/Adrian\.glb', not found at"):
        resolve_scene(named, tmp_path)
    (tmp_path / "gibson").mkdir()
    (tmp_path / "gibson" / "Adrian.glb").touch()
    assert resolve_scene(named, tmp_path) == tmp_path / "gibson" / "Adrian.glb"


@pytest.mark.parametrize(
    "name", ["../secret.glb", "gibson/../../secret.glb", "/{outside}/secret.glb", "data/scene_datasets/../secret.glb"]
)
def test_scenes_do_not_lead_out_of_their_folder(tmp_path, name):
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    (tmp_path / "secret.glb").touch()
    named = Episode("7", name.replace("/{outside}", str(tmp_path)), (0, 0, 0), (0, 0, 0, 1))
    with pytest.raises(EpisodeError, match=r"'7' names scene .* outside scenes_dir"):
        resolve_scene(named, scenes)


def test_linked_data_sets_are_inside(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.glb").touch()
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "gibson").symlink_to(tmp_path / "disk")
    assert resolve_scene(Episode("7", "gibson/a.glb", (0, 0, 0), (0, 0, 0, 1)), tmp_path / "scenes").is_file()


class TestIterator:
    episodes = tuple(episode(i, scene=f"{'abc'[i % 3]}.glb") for i in range(12))

    def make(self, **options):
        return EpisodeIterator(self.episodes, np.random.default_rng(0), **options)

    def test_in_file_order_once(self):
        order = [e.episode_id for e in self.make(cycle=False, shuffle=False, group_by_scene=False)]
        assert order == [str(i) for i in range(12)]

    def test_scenes_stay_together_and_all_come_round(self):
        iterator = self.make()
        for _ in range(2):
            scenes = [next(iterator).scene_id for _ in range(12)]
            assert len({scenes[i] for i in range(12) if i == 0 or scenes[i] != scenes[i - 1]}) == 3
            assert sum(a != b for a, b in pairwise(scenes)) == 2

    def test_a_scene_is_left_after_its_steps(self):
        iterator = self.make(max_scene_repeat_steps=10, step_repetition_range=0.0)
        first = next(iterator)
        for _ in range(10):
            iterator.count_step()
        second = next(iterator)
        assert second.scene_id != first.scene_id
        rest = [next(iterator) for _ in range(10)]
        assert {e.episode_id for e in [first, second, *rest]} == {str(i) for i in range(12)}, "none is lost"

    def test_a_snapshot_goes_on_the_same(self):
        one, other = self.make(), self.make()
        for _ in range(5):
            next(one)
        other.set_state(one.get_state())
        assert [next(one).episode_id for _ in range(20)] == [next(other).episode_id for _ in range(20)]
