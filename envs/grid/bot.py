"""minigrid's BabyAI bot as an expert that works from any state."""

from typing import Any

from minigrid.envs.babyai.core.verifier import ActionInstr, AfterInstr, OpenInstr, PickupInstr, PutNextInstr
from minigrid.utils.baby_ai_bot import BabyAIBot, DisappearedBoxError, DropSubgoal, GoNextToSubgoal

from embodia.envs.grid import goals
from embodia.envs.grid.search import DONE, NOTHING, PATIENCE, Goal, Model, TooLong, Unsolvable, shortest_plan

CONFUSED = (AssertionError, AttributeError, DisappearedBoxError, IndexError, RecursionError, TypeError, ValueError)
"""Exceptions that the bot raises in states it was not written for."""


class Bot(BabyAIBot):
    """minigrid's bot, with an error if it replans endlessly."""

    MOST_SEARCHES = 100  # per step; it rarely needs more than ten

    def replan(self, action_taken: int | None = None) -> int:
        self.bfs_counter = 0
        return int(super().replan(action_taken))

    def _breadth_first_search(self, *args: Any, **options: Any) -> Any:
        if self.bfs_counter >= self.MOST_SEARCHES:
            raise RecursionError("the bot replans in circles")
        return super()._breadth_first_search(*args, **options)


class BotExpert:
    """Expert that keeps a bot informed of the agent's actions.

    The bot follows Chevalier-Boisvert et al. (ICLR 2019), section 3.4: it knows the structure of the instruction and
    sees only what the agent sees, so it explores. Its solutions are good but not always shortest. If the bot fails, or
    half the time has passed, a search plans the instruction's actions one by one. If the search fails too, a new bot is
    created.
    """

    def __init__(self, world: Any):
        self.world = world
        self.forget()

    def forget(self) -> None:
        self._bot: Any = None
        self._lost = False  # the bot has failed; the search plans
        self._hopeless = False  # the search has failed too; a failed bot is replaced by a new one
        self._advice = NOTHING  # the action for the current state
        self._taken = NOTHING  # the action taken since the bot was last asked
        self._plan: list[int] = []  # the search's plan from the current state

    def action(self) -> int:
        if self._advice == NOTHING:
            if self.world.step_count == self.world.max_steps // 2 and not self._lost:
                self._hurry()
            self._advice = self._searched() if self._lost else self._ask()
        return self._advice

    def _hurry(self) -> None:
        self._plan = plan_next(self.world)
        if self._plan:
            self._bot, self._lost = None, True

    def _ask(self) -> int:
        fresh = self._bot is None
        if fresh:
            self._bot, self._taken = new_bot(self.world), NOTHING
        advice = self._replan(None if self._taken == NOTHING else self._taken)
        if advice != DONE:
            return advice
        self._bot, self._lost = None, not self._hopeless
        return DONE if fresh and self._hopeless else self.action()

    def _searched(self) -> int:
        self._plan = self._plan or plan_next(self.world)
        if self._plan:
            return self._plan[0]
        self._lost, self._hopeless = False, True
        return self._ask()

    def _replan(self, taken: int | None) -> int:
        try:
            return int(self._bot.replan(taken))
        except CONFUSED:
            return DONE

    def before_step(self, action: int) -> None:
        self._plan = self._plan[1:] if self._plan and self._plan[0] == action else []
        self._bot = self._bot if self._advice != NOTHING else None
        self._taken, self._advice = action, NOTHING

    def memory(self) -> list[int]:
        return [int(self._lost), int(self._hopeless), self._advice, self._taken, *self._plan]

    def bot(self) -> Any:
        return self._bot

    def restore(self, memory: list[int], bot: Any) -> None:
        lost, hopeless, self._advice, self._taken, *self._plan = memory
        self._lost, self._hopeless, self._bot = bool(lost), bool(hopeless), bot

    def solution_length(self, at_most: int) -> int:
        for steps in range(1, at_most):
            action = self.action()
            self.before_step(action)
            _, reward, terminated, truncated, _ = self.world.step(action)
            if terminated or truncated:
                return steps if reward > 0 else at_most
        return at_most


def plan_next(world: Any) -> list[int]:
    """Return a short plan for the next action of the instruction; [] if the search finds none.

    The search first moves only the objects of the action and keys to locked doors, then any object.
    """
    for touch in (_relevant(world), None):
        model = Model(world, touch=touch)
        try:
            return shortest_plan(model, _goal(model, pending(world.instrs)[0]), model.read(), PATIENCE // 100)
        except (Unsolvable, TooLong, IndexError):
            continue
    return []


def _relevant(world: Any) -> list[Any]:
    things = [thing for thing in world.grid.grid if thing is not None]
    locks = {thing.color for thing in things if thing.type == "door" and thing.is_locked}
    keys = [thing for thing in things if thing.type == "key" and thing.color in locks]
    wanted = [getattr(part, "desc_move", None) or part.desc for part in pending(world.instrs)]
    return keys + [thing for description in wanted for thing in description.obj_set]


def _goal(model: Model, instruction: Any) -> Goal:
    if isinstance(instruction, PutNextInstr):
        return goals.PutNext(model, _known(model.things, instruction.desc_move), _cells(model, instruction.desc_fixed))
    if isinstance(instruction, PickupInstr):
        return goals.PickUp(model, _known(model.things, instruction.desc))
    if isinstance(instruction, OpenInstr):
        return goals.Open(model, _known(model.door_things, instruction.desc))
    return goals.Face(model, _cells(model, instruction.desc))


def _known(things: list[Any], description: Any) -> tuple[int, ...]:
    """Return the indices of the objects that a description refers to."""
    return tuple(k for k, thing in enumerate(things) if any(thing is meant for meant in description.obj_set))


def _cells(model: Model, description: Any) -> list[int]:
    """Return the current cells of the objects that a description refers to."""
    meant = {id(thing) for thing in description.obj_set}
    return [cell for cell, thing in enumerate(model.world.grid.grid) if id(thing) in meant]


def new_bot(world: Any) -> Any:
    """Create a bot for the rest of the instruction, for any state of the environment."""
    bot = Bot(world)
    bot._process_obs()
    bot.stack = []
    todo = pending(world.instrs)
    for instruction in reversed(todo):
        bot._process_instr(instruction)
    if world.carrying is not None and todo:
        _free_hands(bot, todo[0])
    return bot


def pending(instruction: Any) -> list[Any]:
    """Return the actions of an instruction that are not done yet, in order."""
    if isinstance(instruction, ActionInstr):
        return [instruction]
    first, second = (instruction.instr_a, instruction.a_done), (instruction.instr_b, instruction.b_done)
    if isinstance(instruction, AfterInstr):
        first, second = second, first
    return [action for part, done in (first, second) if done != "success" for action in pending(part)]


def _free_hands(bot: Any, instruction: Any) -> None:
    """Make the bot first put down what is carried, unless it is the object to put.

    The bot picks things up only with empty hands.
    """
    carried = bot.mission.carrying
    if isinstance(instruction, PutNextInstr) and any(carried is thing for thing in instruction.desc_move.obj_set):
        del bot.stack[-2:]  # it need not go there and pick it up
    elif isinstance(instruction, PickupInstr | PutNextInstr):
        place = bot._find_drop_pos()
        if place is not None:
            bot.stack += [DropSubgoal(bot), GoNextToSubgoal(bot, place)]
