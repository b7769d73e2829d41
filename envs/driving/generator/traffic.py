"""Generated traffic: drivers by IDM and MOBIL on a road network, with signals, right of way, cyclists and pedestrians.

The world is simulated at 10 Hz and recorded. Every driver keeps the same rules, so that any recorded minivan (a vehicle
of the ego's measures) can be the expert of a scenario.
"""

import bisect
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodia.envs.driving.generator.driver import find_leads, idm_acceleration, mobil_gain, path_poses
from embodia.envs.driving.generator.driver_paths import PATH_LENGTH, DriverPath, PathMaker
from embodia.envs.driving.generator.fleet import BODIES, CYCLIST, LONG, REAR_AXLE_SHARE, Demand, Fleet
from embodia.envs.driving.generator.pedestrians import Pedestrians, must_wait
from embodia.envs.driving.generator.right_of_way import Approach, RightOfWay
from embodia.envs.driving.generator.road_layout import LANE_WIDTH, JunctionKind
from embodia.envs.driving.generator.road_network import RoadNetwork, Turn
from embodia.envs.driving.generator.signals import Signals, draw_signals
from embodia.envs.driving.map.geometry import shifted_boxes
from embodia.envs.driving.types import Bools, Floats, Ints

DT = 0.1  # [s]
WARM_UP = 8.0  # [s] simulated before the record starts
LOOK_AHEAD = 75.0  # [m]
CHANGE_EVERY = 5  # steps between thoughts of changing lanes
JERK = 2.2  # [m/s^3] of comfortable driving
HARD = 3.0  # [m/s^2] braking beyond which comfort gives way
NO_OFFSET = np.array([[0.0, 0.0, 1.0]])
ENVELOPE_TIME = 0.6  # [s] in which a driver adapts to the speed a bend asks for


@dataclass(frozen=True)
class Frame:
    """One recorded instant: drivers present, walkers present, lights."""

    drivers: Ints  # (n,)
    poses: Floats  # (n, 3) rear axle
    speeds: Floats  # (n,)
    accelerations: Floats  # (n,)
    edges: Ints  # (n,)
    on_edge: Floats  # (n,) [m] of the front bumper past the start of the rear axle's edge
    gaps: Floats  # (n,) to the lead, inf without
    leads: Ints  # (n,) row of the lead among the frame's boxes, -1 without
    offsets: Floats  # (n,) lateral offset left of a lane change
    walkers: tuple[str, ...]
    walker_boxes: Floats
    walker_velocities: Floats
    lights: NDArray[np.int8]


@dataclass(frozen=True)
class Recording:
    """A simulated world."""

    network: RoadNetwork
    signals: Signals
    fleet: Fleet
    frames: list[Frame]
    parked: Floats  # (p, 5) boxes
    path_edges: dict[int, list[tuple[int, DriverPath]]]  # driver -> (frame, path taken from then on)


class Traffic:
    """A world of drivers and walkers that moves in steps of 0.1 s."""

    def __init__(self, network: RoadNetwork, demand: Demand, rng: np.random.Generator):
        self.network, self.demand, self.rng = network, demand, rng
        self.map = network.map
        self.signals = draw_signals(network, rng)
        self.light_edges = [self.map.connector_index[i] for i in self.signals.connector_ids]
        self.right_of_way = RightOfWay(network)
        self.pedestrians = Pedestrians(network, self.signals, demand.pedestrians, rng)
        self.maker = PathMaker(network)
        self.fleet = Fleet()
        self.history: dict[int, list[tuple[int, DriverPath]]] = {}
        self.parked = self._park()
        self.circles = any(m.turn is Turn.CIRCLE for m in network.movements)
        self.long_vehicles = 0.0 if self.circles else demand.long_vehicles
        self.time, self.ticks = 0.0, 0
        self.sources = [e for e in range(self.map.num_lanes) if not self.map.incoming[e]]
        self.sources = [e for e in self.sources if not self.map.block_incoming[self.map.block_of[e]]]
        self._fill()

    # Who is there

    def _park(self) -> Floats:
        spots = self.network.roadside.parking
        sizes = self.rng.uniform((4.2, 1.75), (5.0, 2.0), (len(spots), 2))
        jitter = self.rng.normal(0, (0.3, 0.08, 0.02), (len(spots), 3))
        poses = np.array(spots).reshape(-1, 3) + jitter
        return np.column_stack([poses, sizes])

    def _fill(self) -> None:
        for edge in range(self.map.num_lanes):
            length = self.map.edges[edge].baseline.length
            s = float(self.rng.uniform(4, self.demand.gap[1]))
            while s < length - 12:
                s += self._enter(edge, s) + float(self.rng.uniform(*self.demand.gap))
            self._maybe_cyclist(edge, length)

    def _enter(self, edge: int, s: float, speed: float | None = None) -> float:
        """Add a driver with its rear axle at s [m] on a lane; gives its length [m]."""
        rng, demand = self.rng, self.demand
        names = list(BODIES)
        shares = np.array([BODIES[b][2] * (self.long_vehicles if BODIES[b][0] > LONG else 1.0) for b in names])
        body = names[int(rng.choice(len(names), p=shares / shares.sum()))]
        length, width, _ = BODIES[body]
        path = self.maker.path(self.maker.random_edges(edge, rng, straight=1.0 if length > LONG else demand.straight))
        haste = float(rng.uniform(*demand.haste)) * (0.85 if length > LONG else 1.0)
        limit = path.limits[min(int(s), PATH_LENGTH - 1)] * haste
        self._add(
            path,
            body,
            length,
            width,
            s=s,
            v=0.8 * limit if speed is None else min(speed, limit),
            haste=haste,
            headway=float(rng.uniform(*demand.headway)),
            accel=float(rng.uniform(1.2, 1.9)) if length < LONG else 0.9,
            brake=float(rng.uniform(1.5, 2.2)),
            lateral=float(rng.uniform(1.6, 2.5)) if length < LONG else 1.2,
            offset=np.array([0.0, 0.0, 1.0]),
        )
        return length

    def _add(self, path: DriverPath, body: str, length: float, width: float, **values: float | Floats) -> None:
        forward = (REAR_AXLE_SHARE if length < LONG else 0.1) * length  # long ones steer with more than one axle
        driver = len(self.fleet.paths)
        self.fleet.add(
            path,
            body,
            a=0.0,
            length=length,
            width=width,
            forward=forward,
            front=forward + length / 2,
            rear=length / 2 - forward,
            active=1.0,
            calm=self.time + 2.0,
            next_start=0.0,
            **values,
        )
        self.history[driver] = [(self.ticks, path)]

    def _maybe_cyclist(self, edge: int, length: float) -> None:
        shoulder = self.network.roadside.shoulders.get(self.map.edges[edge].id, 0.0)
        if shoulder < 1.8 or self.circles or self.rng.random() > self.demand.cyclists:
            return
        limit = self.map.edges[edge].speed_limit
        assert limit is not None, "every generated lane has one"
        self._add(
            self.maker.path(self._cycle_route(edge)),
            "bicycle",
            *CYCLIST,
            s=float(self.rng.uniform(5, max(length - 20, 6))),
            v=4.0,
            haste=float(self.rng.uniform(4.0, 6.0)) / limit,
            headway=1.2,
            accel=0.8,
            brake=1.5,
            lateral=1.2,
            offset=np.array([-(LANE_WIDTH / 2 + 0.9), 1e9, 1.0]),
        )

    def _cycle_route(self, edge: int) -> list[int]:
        """Straight on or right, always in the lane that leads to the rightmost one."""
        edges = [edge]
        turns = {self.map.connector_index[m.connector_id]: m.turn for m in self.network.movements}
        while self.map.outgoing[edges[-1]] and len(edges) < 12:
            choices = self.map.outgoing[edges[-1]]
            straight = [e for e in choices if turns.get(e, Turn.STRAIGHT) is Turn.STRAIGHT]
            right = [e for e in choices if turns.get(e) is Turn.RIGHT]
            edges.append((straight or right or choices)[-1])
        return edges

    # One step

    def step(self) -> Frame:
        """Decide, record the instant, move on by 0.1 s."""
        now = np.flatnonzero(self.fleet.values["active"])
        v = {name: values[now] for name, values in self.fleet.values.items()}
        rear = path_poses(self.fleet.poses, now, v["s"], v["offset"])
        boxes = self._boxes(rear, v)
        reach = np.clip(12.0 + 4.5 * v["v"], 20.0, LOOK_AHEAD)
        gaps, leads = find_leads(self.fleet.poses, now, v["s"], v["offset"], v["front"], v["width"], reach, boxes)
        lead_speeds = self._lead_speeds(leads, boxes, rear, v)
        lights = self.signals.status(self.time)
        edges, starts = self._where(now, v["s"])
        stops = self._stops(now, v, gaps, leads, lead_speeds, lights)
        acceleration = self._accelerate(now, v, gaps, lead_speeds, stops)
        frame = Frame(
            now,
            rear,
            v["v"],
            acceleration,
            edges,
            v["s"] - starts + v["front"],
            gaps,
            leads,
            self._lateral(v),
            tuple(w.token for w in self.pedestrians.walkers),
            self.pedestrians.boxes(),
            self.pedestrians.velocities(),
            lights,
        )
        if self.ticks % CHANGE_EVERY == 0:
            self._change_lanes(now, v, edges, starts, acceleration)
        self._move(now, acceleration)
        return frame

    def _where(self, now: Ints, s: Floats) -> tuple[Ints, Floats]:
        """Edge of every driver (n,) and arc length (n,) at which it starts."""
        paths = [self.fleet.paths[driver] for driver in now.tolist()]
        places = [path.place(here) for path, here in zip(paths, s.tolist())]
        edges = [path.edges[place] for path, place in zip(paths, places)]
        return np.array(edges), np.array([path.starts[place] for path, place in zip(paths, places)])

    def _boxes(self, rear: Floats, v: dict[str, Floats]) -> Floats:
        drivers = shifted_boxes(rear, v["forward"], v["length"], v["width"])
        return np.concatenate([drivers, self.parked, self.pedestrians.boxes()])

    def _lead_speeds(self, leads: Ints, boxes: Floats, rear: Floats, v: dict[str, Floats]) -> Floats:
        """(n,) speed [m/s] of the leads along the drivers' headings, never negative."""
        own = np.zeros(len(boxes))
        own[: len(rear)] = v["v"]
        lead = np.maximum(leads, 0)
        return np.asarray(np.maximum(own[lead] * np.cos(boxes[lead, 2] - rear[:, 2]), 0.0) * (leads >= 0))

    @staticmethod
    def _lateral(v: dict[str, Floats]) -> Floats:
        share = np.clip((v["s"] - v["offset"][:, 1]) / v["offset"][:, 2], 0, 1)
        return np.asarray(v["offset"][:, 0] * (1 - share**3 * (10 + share * (6 * share - 15))))

    def _accelerate(self, now: Ints, v: dict[str, Floats], gaps: Floats, lead_speeds: Floats, stops: Floats) -> Floats:
        """(n,) IDM towards the lead and the stop line, within the speed that the path allows, with gentle jerk."""
        envelopes = self.fleet.envelopes
        ahead = np.clip(v["s"] + v["v"] * 0.3, 0, PATH_LENGTH - 1).astype(int)
        allowed = np.maximum(envelopes[now, ahead], 1.0)
        limit = np.maximum(envelopes[now, np.clip(v["s"], 0, PATH_LENGTH - 1).astype(int)], 1.0)
        law = (v["headway"], v["accel"], v["brake"])
        towards_lead = idm_acceleration(v["v"], limit, gaps, lead_speeds, *law)
        towards_stop = idm_acceleration(v["v"], limit, stops, 0.0, *law)
        wanted = np.minimum(np.minimum(towards_lead, towards_stop), (allowed - v["v"]) / ENVELOPE_TIME)
        nearest = np.minimum(gaps, stops)
        wanted = np.where((v["v"] < 1.0) & (wanted < 0.05) & (nearest < 6.0), -0.9, wanted)  # stop, do not creep
        wanted = np.where((v["v"] < 0.05) & (wanted < 0.25), -0.9, wanted)
        jerk = np.where(wanted < -HARD, 12.0, JERK) * DT
        rise = np.where(v["v"] < 0.05, np.maximum(wanted, 0.0).clip(max=0.4), v["a"] + jerk)
        return np.asarray(np.clip(wanted, v["a"] - jerk, rise))

    def _move(self, now: Ints, acceleration: Floats) -> None:
        values = self.fleet.values
        speed = values["v"][now]
        after = np.maximum(speed + acceleration * DT, 0.0)
        values["a"][now] = np.where(after > 0, acceleration, 0.0)
        values["s"][now] += (speed + after) / 2 * DT
        values["v"][now] = after
        for driver in now[values["s"][now] + values["front"][now] >= self._ends(now)].tolist():
            values["active"][driver] = 0.0
            self.right_of_way.release(driver)
        self.time += DT
        self.ticks += 1
        self.pedestrians.step(self.time, DT, self._safe_crossings())
        self._inflow()

    def _ends(self, now: Ints) -> Floats:
        return np.array([min(self.fleet.paths[i].length, PATH_LENGTH - 2.0) for i in now])

    def _inflow(self) -> None:
        values = self.fleet.values
        for edge in self.sources:
            if self.rng.random() > self.demand.inflow * DT:
                continue
            entry = self.map.edges[edge].baseline.points[0]
            now = np.flatnonzero(values["active"])
            rear = path_poses(self.fleet.poses, now, values["s"][now], values["offset"][now])
            distance = np.hypot(*(rear[:, :2] - entry).T)
            nearest = int(np.argmin(distance)) if len(now) else -1
            if nearest < 0 or distance[nearest] > 30.0:
                self._enter(edge, 4.0, None if nearest < 0 else max(float(values["v"][now[nearest]]), 4.0))

    # Junctions and crosswalks

    def _stops(
        self, now: Ints, v: dict[str, Floats], gaps: Floats, leads: Ints, lead_speeds: Floats, lights: NDArray[np.int8]
    ) -> Floats:
        """(n,) distance [m] to where each driver has to stop, inf if nowhere."""
        status = dict(zip(self.light_edges, lights.tolist()))
        past: dict[int, float] = {}
        row_of = {driver: row for row, driver in enumerate(now.tolist())}
        for driver in list(self.right_of_way.claims):
            self._follow_claim(driver, float((v["s"] - v["rear"])[row_of[driver]]), past)
        fronts = v["s"] + v["front"]
        for row in np.flatnonzero(v["next_start"] <= fronts - 1.5).tolist():
            start = self._next_connector(int(now[row]), fronts[row])[0]
            v["next_start"][row] = self.fleet.values["next_start"][now[row]] = start
        near = np.flatnonzero(v["next_start"] - fronts < LOOK_AHEAD).tolist()
        cyclists = [row for driver, row in row_of.items() if self.fleet.body[driver] == "bicycle"]
        found = [self._approach(row, fronts[row], v, gaps, leads, lead_speeds, now, cyclists) for row in near]
        approaches = [approach for approach in found if approach]
        waits = self.right_of_way.decide(approaches, status, past, self.time)
        stops = np.array([waits.get(driver, math.inf) for driver in now.tolist()])
        return np.minimum(stops, self._crosswalk_stops(now, v))

    def _follow_claim(self, driver: int, rear: float, past: dict[int, float]) -> None:
        """Note how far a driver is on its claimed connector; the claim ends when the rear bumper leaves it."""
        claim, path = self.right_of_way.claims[driver], self.fleet.paths[driver]
        start = next((s for s, edge in path.connectors if edge == claim), None)
        if start is None or rear > start + self.map.edges[claim].baseline.length:
            self.right_of_way.release(driver)
        else:
            past[driver] = rear - start

    def _next_connector(self, driver: int, front: float) -> tuple[float, int]:
        """Arc length and edge of the connector that comes next on a driver's path; (inf, -1) for none."""
        connectors = self.fleet.paths[driver].connectors
        place = bisect.bisect_right(connectors, (front - 1.5, 0))
        return connectors[place] if place < len(connectors) else (math.inf, -1)

    def _approach(
        self,
        row: int,
        front: float,
        v: dict[str, Floats],
        gaps: Floats,
        leads: Ints,
        lead_speeds: Floats,
        now: Ints,
        cyclists: list[int],
    ) -> Approach | None:
        """Return a driver's situation at the next junction; None if there is nothing (more) to claim."""
        driver = int(now[row])
        start, connector = self._next_connector(driver, front)
        light = self.right_of_way.kind[connector] is JunctionKind.SIGNAL and start > front
        if self.right_of_way.claims.get(driver) == connector and not light:
            return None
        if not self.right_of_way.needs_claim(connector):
            return None
        distance, gap = max(start - front, 0.0), float(gaps[row])
        length = self.map.edges[connector].baseline.length
        slow_beyond = lead_speeds[row] < 2.0 and distance <= gap < distance + length + v["length"][row] + 3.0
        lead = int(now[leads[row]]) if 0 <= leads[row] < len(now) else -1
        return Approach(
            driver,
            connector,
            distance,
            float(v["v"][row]),
            lead_before_line=gap < distance - 0.5 and lead not in self.right_of_way.claims,
            exit_room=not slow_beyond,
            beside_cyclist=bool(cyclists) and self._cyclist_beside(row, connector, v, now, cyclists),
        )

    def _cyclist_beside(self, row: int, connector: int, v: dict[str, Floats], now: Ints, cyclists: list[int]) -> bool:
        """Before a right turn: is a cyclist close by on the right?"""
        if self.right_of_way.movement[connector].turn is not Turn.RIGHT or row in cyclists:
            return False
        both = [row, *cyclists]
        here, *there = path_poses(self.fleet.poses, now[both], v["s"][both], v["offset"][both])
        delta = np.array(there)[:, :2] - here[:2]
        along = delta @ np.array([math.cos(here[2]), math.sin(here[2])])
        across = delta @ np.array([math.sin(here[2]), -math.cos(here[2])])
        return bool(np.any((along > -14) & (along < 14) & (across > 0) & (across < 5.0)))

    def _crosswalk_stops(self, now: Ints, v: dict[str, Floats]) -> Floats:
        stops = np.full(len(now), math.inf)
        busy = self.pedestrians.busy()
        if not busy:
            return stops
        for row, driver in enumerate(now.tolist()):
            front, speed = float(v["s"][row] + v["front"][row]), float(v["v"][row])
            for s, crossing, at in self.fleet.paths[driver].crossings:
                distance = s - front - 1.2
                if distance < -0.8 or crossing not in busy:
                    continue
                if distance > LOOK_AHEAD:
                    break
                can_stop = distance > speed**2 / 8.0
                if can_stop and any(must_wait(walker, at) for walker in busy[crossing]):
                    stops[row] = min(stops[row], max(distance, 0.05))
        return stops

    def _safe_crossings(self) -> dict[int, bool]:
        """Whether every driver that approaches a crossing could stop comfortably before it."""
        safe = dict.fromkeys(self.pedestrians.waiting(), True)
        if not safe:
            return safe
        values = self.fleet.values
        for driver in np.flatnonzero(values["active"]).tolist():
            front, speed = values["s"][driver] + values["front"][driver], values["v"][driver]
            for s, crossing, _ in self.fleet.paths[driver].crossings:
                past = s - front + values["length"][driver] + 4.0 < 0
                if crossing in safe and not past and s - front - 1.5 < speed**2 / (2 * 2.0) + 0.5 * speed:
                    safe[crossing] = safe[crossing] and speed < 0.3 and s > front
        return safe

    # Lane changes

    def _change_lanes(self, now: Ints, v: dict[str, Floats], edges: Ints, starts: Floats, acceleration: Floats) -> None:
        on_edge = v["s"] - starts
        for row, driver in enumerate(now.tolist()):
            edge = int(edges[row])
            if edge >= self.map.num_lanes or self.fleet.body[driver] == "bicycle":
                continue
            length = self.map.edges[edge].baseline.length
            needed = float(np.clip(4.6 * v["v"][row], 22.0, 70.0))
            if v["v"][row] < 2.0 or v["calm"][row] > self.time:
                continue
            if on_edge[row] < 15.0 or length - on_edge[row] < needed + 8.0:
                continue
            wander = self.rng.random() < self.demand.wander
            for target in (self.map.left[edge], self.map.right[edge]):
                if target is not None and self._worth_it(row, target, v, edges, on_edge, acceleration, wander):
                    edges[row], on_edge[row] = target, self._change(driver, target, needed)
                    break

    def _worth_it(
        self,
        row: int,
        target: int,
        v: dict[str, Floats],
        edges: Ints,
        on_edge: Floats,
        acceleration: Floats,
        wander: bool,
    ) -> bool:
        """MOBIL on the vehicles of the target lane; a wandering driver only asks whether it is safe."""
        ratio = self.map.edges[target].baseline.length / self.map.edges[int(edges[row])].baseline.length
        here = on_edge[row] * ratio
        there = np.flatnonzero(edges == target)
        ahead, behind = there[on_edge[there] > here], there[on_edge[there] <= here]
        gap_ahead, gap_behind, after, follower = math.inf, math.inf, v["accel"][row], (0.0, 0.0)
        if len(ahead):
            lead = ahead[np.argmin(on_edge[ahead])]
            gap_ahead = on_edge[lead] - here - v["rear"][lead] - v["front"][row]
            after = float(self._idm(v, row, gap_ahead, v["v"][lead]))
        if len(behind):
            last = behind[np.argmax(on_edge[behind])]
            gap_behind = here - on_edge[last] - v["rear"][row] - v["front"][last]
            follower = (acceleration[last], float(self._idm(v, last, gap_behind, v["v"][row])))
        if gap_ahead < 3.0 + 0.5 * v["v"][row] or gap_behind < 3.0 + 0.5 * v["v"][row]:
            return False
        gain = mobil_gain(acceleration[row], after, *follower)
        return gain > 0 or (wander and gain > -0.6)

    @staticmethod
    def _idm(v: dict[str, Floats], row: int, gap: float, lead_speed: float) -> Floats:
        desired = max(v["v"][row] * 1.2, 8.0)
        return idm_acceleration(
            v["v"][row], desired, gap, lead_speed, *(v[k][row] for k in ("headway", "accel", "brake"))
        )

    def _change(self, driver: int, target: int, needed: float) -> float:
        """Move over: from the new path the driver is off to one side, an offset that fades. Gives its place [m]."""
        values, row = self.fleet.values, np.array([driver])
        here = path_poses(self.fleet.poses, row, values["s"][row], values["offset"][row])[0]
        edges = self.maker.random_edges(target, self.rng, self.fleet.paths[driver].edges, self.demand.straight)
        path = self.maker.path(edges)
        self.fleet.take(driver, path)
        s = float(self.map.edges[target].baseline.project(here[:2]))
        x, y, heading = path_poses(self.fleet.poses, row, np.array([s]), NO_OFFSET)[0]
        s += (here[0] - x) * math.cos(heading) + (here[1] - y) * math.sin(heading)
        beside = (here[1] - y) * math.cos(heading) - (here[0] - x) * math.sin(heading)
        values["s"][driver] = s
        values["offset"][driver] = (beside, s, needed)
        values["calm"][driver] = self.time + 7.0
        values["next_start"][driver] = 0.0
        self.right_of_way.release(driver)
        self.history[driver].append((self.ticks, path))
        return s


def simulate(network: RoadNetwork, demand: Demand, seconds: float, rng: np.random.Generator) -> Recording:
    """Simulate a world, warm it up and record it."""
    world = Traffic(network, demand, rng)
    for _ in range(round(WARM_UP / DT)):
        world.step()
    start = world.ticks
    frames = [world.step() for _ in range(round(seconds / DT))]
    history = {d: [(max(t - start, 0), p) for t, p in taken] for d, taken in world.history.items()}
    return Recording(network, world.signals, world.fleet, frames, world.parked, history)


def present(frames: list[Frame], drivers: int) -> Bools:
    """(frames, drivers) whether a driver is present."""
    table = np.zeros((len(frames), drivers), bool)
    for k, frame in enumerate(frames):
        table[k, frame.drivers] = True
    return table
