import pytest

from embodia.scripts.bench.mapping.mapping import AFTER_SHORT, POLICIES, SHORT, laser, map_update, rows


def finished():
    """Lines of finished jobs: the agent scores 0.9, everybody else 0.6; two episodes a block."""
    lines = {"floor, 0": {"iou": [0.9, 1.0]}, "map update": {"ms": 0.5}, "laser": {"ms": 2.0}}
    for name, policies in POLICIES.items():
        for policy in policies:
            value = [0.9, 0.9] if policy == "agent" else [0.6, 0.6]
            scores = {"coverage": value, "success": value, "spl": value}
            lines[f"{name}, {policy}, 500 steps, 0"] = scores
            if name == "frontier" and policy in AFTER_SHORT:
                lines[f"{name}, {policy}, {SHORT} steps, 0"] = scores
    return {name: {"name": name, "cpu_minutes": 0.1, **line} for name, line in lines.items()}


def test_rows_have_their_controls():
    found = {(row.name, row.unit): row for row in rows(finished())}
    assert {name for name, _ in found} == {
        *("occupancy iou", "frontier", f"frontier, {SHORT} steps", "modular-objectnav", "modular-pointnav"),
        *("map update", "laser"),
    }
    share = found["frontier", "share of the map-knowing explorer's"]
    assert share.value == pytest.approx(1.5)
    assert {each.name for each in share.controls} == {"pose noise 2 cm, 1 deg", "expert", "random", "turning"}
    assert found["modular-objectnav", "success"].value == pytest.approx(0.9)
    assert found["occupancy iou", "IoU"].value == pytest.approx(0.95)


def test_timed_parts_give_milliseconds():
    assert map_update(2)["ms"] > 0
    assert laser(2, 3, 2)["ms"] > 0
