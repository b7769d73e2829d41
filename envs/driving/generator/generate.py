"""Scenarios by seed: a town, its traffic, and one of its drivers as the expert, labelled with a nuPlan scenario type.

A world is simulated once and searched for a minivan that lives through the asked-for situation; its drive becomes the
expert's log. Worlds in which it is not found, or the expert touches anything or leaves the road, are drawn again, so
that a seed always gives the same scenario.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from embodia.envs import Split, level_seed
from embodia.envs.driving.generator.build_network import build
from embodia.envs.driving.generator.fleet import Demand, body_type
from embodia.envs.driving.generator.road_layout import JunctionKind, Style, plan
from embodia.envs.driving.generator.scenario_types import RULES, VAL14, Drive, World
from embodia.envs.driving.generator.traffic import DT, Frame, Recording, present, simulate
from embodia.envs.driving.map.geometry import box_corners, box_separation, boxes_intersect, shifted_boxes
from embodia.envs.driving.scenarios.scenario import HISTORY_FRAMES, LightLog, Scenario, TrackLog
from embodia.envs.driving.types import STATE_SIZE, Bools, Floats, Ints, StateColumn, TrackedObjectType
from embodia.envs.driving.vehicle.bicycle import ego_boxes

SCENARIO_TYPES = tuple(VAL14)
ITERATIONS = 151  # 15 s, both ends included
TAG_ITERATION = 30  # the labelled instant lies 3 s after the start
FUTURE_FRAMES = 80  # 8 s that open-loop scores compare with
SLACK = 7.0  # [s] of choice for the labelled instant
RANGE = 100.0  # [m] around the expert within which objects are seen
OFF_ROAD = 0.25  # [m] a corner may stand out; the score allows 0.3
HARDEST_EXPERT_BRAKE = 3.8  # [m/s^2]
START_US = 1_600_000_000_000_000  # an arbitrary date
MAX_WORLDS = 60


def generate_scenario(seed: int, type: str | None = None, split: Split = "train") -> Scenario:
    """The scenario of a seed; `type` is one of RULES, None lets the seed choose one of the 14 of Val14.

    Raises ValueError for an unknown type, RuntimeError if no world of the seed has the situation (none known).
    """
    if type is not None and type not in RULES:
        raise ValueError(f"unknown scenario type {type!r}; choose one of {', '.join(sorted(RULES))}")
    level = level_seed(split, seed)
    wanted = type or SCENARIO_TYPES[int(np.random.default_rng([level, 1]).integers(len(SCENARIO_TYPES)))]
    for attempt in range(MAX_WORLDS):
        rng = np.random.default_rng([level, 2, sorted(RULES).index(wanted), attempt])
        scenario = _one_world(wanted, rng, f"{split}-{seed}-{wanted}")
        if scenario:
            return replace(scenario, info={"split": split, "seed": str(seed), "worlds": str(attempt + 1)})
    raise RuntimeError(f"no {wanted} scenario in {MAX_WORLDS} worlds of seed {seed} ({split}); choose another seed")


def _one_world(wanted: str, rng: np.random.Generator, token: str) -> Scenario | None:
    style, demand = recipe(wanted, rng)
    network = build(plan(style, rng), token, rng)
    if network is None:
        return None
    seconds = (HISTORY_FRAMES + ITERATIONS + FUTURE_FRAMES) * DT + SLACK
    world = tabulate(simulate(network, demand, seconds, rng))
    for drive, tag in candidates(world, wanted, rng):
        scenario = cut(drive, tag - TAG_ITERATION, wanted, token)
        if sound(scenario):
            return scenario
    return None


def recipe(wanted: str, rng: np.random.Generator) -> tuple[Style, Demand]:
    """Return a town style and traffic demand in which a scenario type is likely."""
    kinds = tuple(JunctionKind(k) for k in ("signal", "stop", "yield", "roundabout"))
    sizes = ((1, 1), (2, 1), (2, 1), (3, 1), (2, 2))
    drawn = rng.choice(4, 2, p=(0.68, 0.16, 0.06, 0.1))
    style = Style(size=sizes[rng.integers(len(sizes))], kinds=(kinds[drawn[0]], kinds[drawn[1]]))
    style = replace(style, winding=float(rng.uniform(0.05, 0.45)), rim_curvature=1 / float(rng.uniform(60, 300)))
    demand = Demand()
    busy = Demand(gap=(7.0, 16.0), inflow=0.3, headway=(0.5, 0.9), pedestrians=0.01, straight=0.7)
    wide = replace(
        style, size=(1, 1), rim=(130.0, 170.0), lanes=(3,), kinds=(JunctionKind.SIGNAL,), limits_mph=(25, 30)
    )
    turning = replace(demand, straight=0.0)
    recipes: dict[str, tuple[Style, Demand]] = {
        "behind_long_vehicle": (style, replace(demand, gap=(10.0, 45.0), long_vehicles=6.0)),
        "changing_lane": (replace(style, lanes=(2, 3)), replace(demand, wander=0.12)),
        "following_lane_with_lead": (style, replace(demand, gap=(10.0, 50.0), headway=(0.7, 1.1))),
        "high_lateral_acceleration": (
            replace(style, winding=0.55, rim_curvature=1 / 45, lanes=(1, 2), limits_mph=(30,)),
            replace(demand, gap=(40.0, 120.0)),
        ),
        "high_magnitude_speed": (replace(style, limits_mph=(30, 35)), demand),
        "near_multiple_vehicles": (
            replace(
                wide, kinds=kinds[2:3], rim=(120.0, 160.0), limits_mph=(20, 25), drop_arm=1.0, lane_change_join=0.0
            ),
            Demand(gap=(4.0, 7.5), inflow=0.45, headway=(0.35, 0.6), long_vehicles=0.0, wander=0.0, pedestrians=0.0),
        ),
        "stationary_in_traffic": (wide, busy),
        "starting_left_turn": (style, turning),
        "starting_right_turn": (style, turning),
        "starting_straight_traffic_light_intersection_traversal": (
            replace(style, kinds=kinds[:1]),
            replace(demand, straight=0.7),
        ),
        "stopping_with_lead": (replace(style, kinds=kinds[:1]), replace(demand, gap=(10.0, 35.0))),
        "traversing_pickup_dropoff": (replace(style, parking=0.95, pickup=0.7), demand),
        "waiting_for_pedestrian_to_cross": (
            replace(style, kinds=kinds[1:2], lanes=(1, 2), mid_crosswalk=0.8, crosswalks=1.0),
            replace(demand, pedestrians=0.06),
        ),
    }
    return recipes.get(wanted, (style, demand))


def tabulate(recording: Recording) -> World:
    """A recording as dense arrays."""
    frames, fleet = recording.frames, recording.fleet
    there = present(frames, len(fleet.paths))
    shape = there.shape

    def table(name: str, fill: float, *tail: int) -> Floats:
        out = np.full((*shape, *tail), fill)
        for k, frame in enumerate(frames):
            out[k, frame.drivers] = getattr(frame, name)
        return out

    poses = table("poses", 0.0, 3)
    values = fleet.values
    boxes = shifted_boxes(poses, values["forward"], values["length"], values["width"])
    leads = np.full(shape, -1)
    for k, frame in enumerate(frames):
        known = (frame.leads >= 0) & (frame.leads < len(frame.drivers))
        leads[k, frame.drivers] = np.where(known, frame.drivers[np.where(known, frame.leads, 0)], -1)
    return World(
        recording,
        there,
        poses,
        boxes,
        table("speeds", 0.0),
        table("accelerations", 0.0),
        table("edges", 0).astype(np.int64),
        table("on_edge", 0.0),
        table("gaps", np.inf),
        leads,
        table("offsets", 0.0),
    )


def candidates(world: World, wanted: str, rng: np.random.Generator) -> Iterator[tuple[Drive, int]]:
    """Minivans and frames at which the wanted situation is at hand, with time enough before and after."""
    before, after = HISTORY_FRAMES + TAG_ITERATION, ITERATIONS - TAG_ITERATION + FUTURE_FRAMES
    minivans = [d for d, body in enumerate(world.recording.fleet.body) if body == "minivan"]
    rng.shuffle(minivans)
    for driver in minivans:
        frames = np.flatnonzero(world.present[:, driver])
        if len(frames) < before + after:
            continue
        drive = Drive(world, driver, slice(int(frames[0]), int(frames[-1]) + 1))
        window = np.zeros(len(frames), bool)
        window[before : len(frames) - after + 1] = True
        found = np.flatnonzero(RULES[wanted](drive) & window)
        if len(found):
            yield drive, int(frames[0]) + int(rng.choice(found))


def cut(drive: Drive, first: int, wanted: str, token: str) -> Scenario:
    """The scenario whose iteration 0 is frame `first`, with the driver as its expert."""
    world = drive.world
    start = first - HISTORY_FRAMES
    seen, log = slice(start, first + ITERATIONS), slice(start, first + ITERATIONS + FUTURE_FRAMES)
    ego = expert_states(drive, log)
    lights = world.recording.signals
    frames = world.recording.frames[seen]
    route, goal = _route(drive, first, log.stop)
    return Scenario(
        token=token,
        log_name="generated",
        type=wanted,
        map=world.recording.network.map,
        time_us=START_US + np.arange(len(ego)) * round(DT * 1e6),
        ego=ego,
        start=HISTORY_FRAMES,
        num_iterations=ITERATIONS,
        tracks=tracks_around(world, world.boxes[seen, drive.driver, :2], seen, drive.driver),
        lights=LightLog(lights.connector_ids, np.array([f.lights for f in frames]).reshape(len(frames), -1)),
        route=route,
        goal=goal,
    )


def expert_states(drive: Drive, frames: slice) -> Floats:
    """(f, 11) ego states as a log holds them: steering and yaw rates zero."""
    world = drive.world
    poses = world.poses[frames, drive.driver]
    speed = np.hypot(
        *np.gradient(poses[:, :2], DT, axis=0).T
    )  # beside a bent path one goes faster or slower than on it
    states = np.zeros((len(poses), STATE_SIZE))
    states[:, :2] = poses[:, :2]
    states[:, StateColumn.HEADING] = (poses[:, 2] + np.pi) % (2 * np.pi) - np.pi
    states[:, StateColumn.VX] = speed
    states[:, StateColumn.AX] = np.gradient(speed, DT)
    states[:, StateColumn.AY] = speed * np.gradient(np.unwrap(poses[:, 2]), DT)
    return states


def _route(drive: Drive, first: int, end: int) -> tuple[tuple[str, ...], tuple[float, float, float]]:
    """Roadblocks the expert drives through from iteration 0 on, and as far as its path leads; a goal near its end."""
    world, road_map = drive.world, drive.world.recording.network.map
    driven = world.edges[first:end, drive.driver].tolist()
    path = [p for frame, p in world.recording.path_edges[drive.driver] if frame < end][-1]
    rest = path.edges[path.edges.index(driven[-1]) :] if driven[-1] in path.edges else ()
    blocks = [road_map.blocks[road_map.block_of[edge]].id for edge in [*driven, *rest]]
    route = tuple(b for k, b in enumerate(blocks) if k == 0 or b != blocks[k - 1])
    last = road_map.edges[(rest or driven)[-1]].baseline
    x, y, heading = last.pose_at(max(last.length - 5.0, 0.0)).tolist()
    return route, (x, y, heading)


def tracks_around(world: World, places: Floats, frames: slice, ego: int | None = None) -> TrackLog:
    """Return all objects but driver `ego` that are within range of the places (frames, 2), frame by frame."""
    recording = world.recording
    center = places[:, None]
    fleet, parked = recording.fleet, recording.parked
    count = frames.stop - frames.start
    drivers = [d for d in range(len(fleet.paths)) if d != ego]
    boxes = world.boxes[frames][:, drivers]
    heading, speed = boxes[..., 2], world.speeds[frames][:, drivers]
    velocities = np.stack([speed * np.cos(heading), speed * np.sin(heading)], axis=-1)
    walkers, walker_boxes, walker_velocities, walking = _walkers(recording.frames[frames])
    tokens = [f"vehicle-{d}" for d in drivers] + [f"parked-{k}" for k in range(len(parked))] + walkers
    types = [int(body_type(fleet.body[d])) for d in drivers] + [int(TrackedObjectType.VEHICLE)] * len(parked)
    types += [int(TrackedObjectType.PEDESTRIAN)] * len(walkers)
    still = np.broadcast_to(parked, (count, *parked.shape))
    everything = np.concatenate([boxes, still, walker_boxes], axis=1)
    motion = np.concatenate([velocities, np.zeros((count, len(parked), 2)), walker_velocities], axis=1)
    there = np.concatenate([world.present[frames][:, drivers], np.ones((count, len(parked)), bool), walking], axis=1)
    there &= np.hypot(*np.moveaxis(everything[..., :2] - center, -1, 0)) < RANGE
    keep = np.flatnonzero(there.any(axis=0))
    return TrackLog(
        tuple(tokens[k] for k in keep),
        np.array(types, np.int8)[keep],
        everything[:, keep] * there[:, keep, None],
        motion[:, keep] * there[:, keep, None],
        there[:, keep],
    )


def _walkers(frames: Sequence[Frame]) -> tuple[list[str], Floats, Floats, Bools]:
    """Tokens (w,), boxes (f, w, 5), velocities (f, w, 2) and presence (f, w) of all walkers."""
    tokens = list(dict.fromkeys(token for frame in frames for token in frame.walkers))
    column = {token: k for k, token in enumerate(tokens)}
    shape = (len(frames), len(tokens))
    boxes, velocities, there = np.zeros((*shape, 5)), np.zeros((*shape, 2)), np.zeros(shape, bool)
    for row, frame in enumerate(frames):
        columns: Ints = np.array([column[token] for token in frame.walkers], np.int64)
        boxes[row, columns], velocities[row, columns] = frame.walker_boxes, frame.walker_velocities
        there[row, columns] = True
    return tokens, boxes, velocities, there


def sound(scenario: Scenario) -> bool:
    """The expert touches nothing, stays on the road, and nobody near it collides."""
    frames = slice(0, scenario.start + scenario.num_iterations)
    ego = ego_boxes(scenario.ego[frames])
    tracks = scenario.tracks
    if np.any(boxes_intersect(ego[:, None], tracks.boxes) & tracks.valid):
        return False
    if scenario.ego[frames, StateColumn.AX].min() < -HARDEST_EXPERT_BRAKE or _others_collide(tracks):
        return False
    corners = box_corners(ego).reshape(-1, 2)
    return bool(scenario.map.drivable_area.distance(corners).max() < OFF_ROAD)


def _others_collide(tracks: TrackLog, every: int = 5) -> bool:
    """Whether any two vehicles or cyclists that move overlap, looked at every half second."""
    boxes, valid = tracks.boxes[::every], tracks.valid[::every]
    fast = np.hypot(*np.moveaxis(tracks.velocities, -1, 0)).max(axis=0) > 0.5
    moving = np.flatnonzero(fast & (tracks.types != TrackedObjectType.PEDESTRIAN))
    a, b = np.triu_indices(len(moving), 1)
    a, b = moving[a], moving[b]
    apart = box_separation(boxes[:, a], boxes[:, b]) > -0.02
    return bool(np.any(~apart & valid[:, a] & valid[:, b]))
