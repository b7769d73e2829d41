"""What habitat-sim would not find is named before it is called: there it would end the process."""

import json
import shutil

import pytest
import trimesh

from embodia.envs.drawing.scene import SceneError
from embodia.envs.homes.engines.habitat_sim_files import check_scene
from embodia.envs.homes.files.export import export_scene
from embodia.envs.homes.generator.generate import generate_home


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Two homes in one folder, the name of one the beginning of the other's."""
    folder, scene = tmp_path_factory.mktemp("exported"), generate_home(4, "low", 1)
    for name in ("home-7", "home-7-high"):
        export_scene(scene, folder, name)
    return folder


@pytest.fixture
def homes(exported, tmp_path):
    """The same, to be changed."""
    return shutil.copytree(exported, tmp_path / "homes")


def change(path, **fields):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in (content | fields).items() if value is not None}))


def refuse(match, *args, **options):
    with pytest.raises(SceneError, match=match):
        check_scene(*map(str, args), **options)


def test_exported_homes_are_found_with_and_without_their_data_set(homes):
    for name in ("home-7", "home-7-high"):
        check_scene(str(homes / f"{name}.glb"))
        check_scene(name, str(homes / f"{name}.scene_dataset_config.json"))


def test_each_data_set_holds_one_home(homes):
    top = json.loads((homes / "home-7.scene_dataset_config.json").read_text())
    files = [path for cell in top.values() for path in cell["paths"][".json"]]
    assert files == [
        "home-7.stage_config.json",
        "scenes/home-7.scene_instance.json",
        "home-7.semantic_config.json",
    ]
    assert all((homes / file).is_file() for file in files)
    instance = json.loads((homes / "scenes/home-7.scene_instance.json").read_text())
    named = instance["stage_instance"]["template_name"], instance["semantic_scene_instance"]
    assert named == ("home-7.stage_config.json", "home-7.semantic_config.json")


def test_homes_in_one_data_set_are_told_apart_by_their_whole_names(homes):
    """As when a user lists a folder of exports; habitat-sim takes the first handle that contains a name."""
    kinds = {"stages": ".", "scene_instances": "scenes", "semantic_scene_descriptor_instances": "."}
    all_of_them = homes / "all.scene_dataset_config.json"
    all_of_them.write_text(json.dumps({cell: {"paths": {".json": [place]}} for cell, place in kinds.items()}))
    for name in ("home-7", "home-7-high"):
        check_scene(f"{name}.scene_instance.json", str(all_of_them))
    refuse("scene 'home-7' matches several scene instances", "home-7", all_of_them)


def test_a_scene_instance_beside_the_file_names_a_stage_that_nobody_knows(homes):
    """Exports of older versions: habitat-sim reads the instance and looks for its stage in an empty data set."""
    (homes / "scenes/home-7.scene_instance.json").rename(homes / "home-7.scene_instance.json")
    said = r"home-7\.scene_instance\.json: stage_instance\.template_name 'home-7\.stage_config\.json' is no stage"
    refuse(said, homes / "home-7.glb")


def test_names_that_match_twice_are_refused(homes):
    both = {"paths": {".json": ["."]}}
    change(homes / "home-7.scene_dataset_config.json", stages=both, scene_instances={"paths": {".json": ["scenes"]}})
    refuse("matches several scene instances", "home-7", homes / "home-7.scene_dataset_config.json")
    change(homes / "home-7.scene_dataset_config.json", scene_instances=None)
    refuse("matches several stages", "home-7", homes / "home-7.scene_dataset_config.json")


@pytest.mark.parametrize(
    ("file", "fields", "match"),
    [
        ("home-7.stage_config.json", {"render_asset": None}, 'field "render_asset" is missing'),
        ("home-7.stage_config.json", {"render_asset": "lost.glb"}, "render_asset 'lost.glb' does not exist"),
        ("home-7.stage_config.json", {"semantic_asset": "lost.ply"}, "semantic_asset 'lost.ply' does not exist"),
        ("home-7.semantic_config.json", {"semantic_asset": "lost.ply"}, "semantic_asset 'lost.ply' does not exist"),
        ("scenes/home-7.scene_instance.json", {"stage_instance": 3}, 'field "stage_instance" must be an object'),
        (
            "scenes/home-7.scene_instance.json",
            {"stage_instance": {"template_name": "castle"}},
            "template_name 'castle' is none of the data set's stages: home-7.stage_config.json",
        ),
        (
            "scenes/home-7.scene_instance.json",
            {"semantic_scene_instance": "x"},
            "semantic_scene_instance 'x' matches 0",
        ),
        ("home-7.scene_dataset_config.json", {"stages": [1]}, 'field "stages" must be an object'),
        ("home-7.scene_dataset_config.json", {"scene_instances": {}, "stages": {}}, "has no scene 'home-7'"),
    ],
)
def test_missing_references_are_named(homes, file, fields, match):
    change(homes / file, **fields)
    refuse(match, "home-7", homes / "home-7.scene_dataset_config.json")


def test_broken_json_is_named(homes):
    (homes / "home-7.stage_config.json").write_text("[" * 100_000)
    refuse(r"home-7\.stage_config\.json is not a whole JSON file", homes / "home-7.glb")
    (homes / "home-7.stage_config.json").write_text("[]")
    refuse("must hold a JSON object, not list", homes / "home-7.glb")


def test_a_bare_glb_stands_upright_in_both_engines_or_in_none(tmp_path):
    path = tmp_path / "room.glb"
    path.write_bytes(trimesh.Scene(trimesh.creation.box((4, 2, 3))).export(file_type="glb"))
    refuse(r"reads a .glb without a stage config as z-up.*room.stage_config.json beside it", path)
    check_scene(str(path), up="z")
    (tmp_path / "room.stage_config.json").write_text(
        '{"render_asset": "room.glb", "up": [0, 1, 0], "front": [0, 0, -1]}'
    )
    check_scene(str(path))
    (tmp_path / "hm3d").mkdir()
    scan = tmp_path / "hm3d" / "scan.basis.glb"
    scan.write_bytes(path.read_bytes())
    check_scene(str(scan))
    refuse("no such file", tmp_path / "lost.glb")
