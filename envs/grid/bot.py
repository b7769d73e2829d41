"""minigrid's BabyAI bot as an expert that can be asked in any state."""

from typing import Any

from minigrid.envs.babyai.core.verifier import ActionInstr, AfterInstr, OpenInstr, PickupInstr, PutNextInstr
from minigrid.utils.baby_ai_bot import BabyAIBot, DisappearedBoxError, DropSubgoal, GoNextToSubgoal

from embodia.envs.grid import goals
from embodia.envs.grid.search import DONE, NOTHING, PATIENCE, Goal, Model, TooLong, Unsolvable, shortest_plan

CONFUSED = (AssertionError, AttributeError, DisappearedBoxError, IndexError, RecursionError, TypeError, ValueError)
"""What the bot raises in states it was not written for."""


class Bot(BabyAIBot):
    """minigrid's bot, but one that notices when it replans in circles."""

    MOST_SEARCHES = 100  # in one step; it rarely needs ten

    def replan(self, action_taken: int | None = None) -> int:
        self.bfs_counter = 0
        return int(super().replan(action_taken))

    def _breadth_first_search(self, *args: Any, **options: Any) -> Any:
        if self.bfs_counter >= self.MOST_SEARCHES:
            raise RecursionError("the bot replans in circles")
        return super()._breadth_first_search(*args, **options)


class BotExpert:
    """Keeps one bot informed of what the agent does.

    The bot follows Chevalier-Boisvert et al. (ICLR 2019), section 3.4: it knows the instruction's structure and sees
    what the agent sees, so it explores; its solutions are good, not always shortest. Where it loses the thread, or half
    the time has gone, search plans the instruction's actions one by one; where that fails too, a new bot tries.
    """

    def __init__(self, world: Any):
        self.world = world
        self.forget()

    def forget(self) -> None:
        self._bot: Any = None
        self._lost = False  # the bot has lost the thread, search plans
        self._hopeless = False  # so has the search: a new bot whenever one is lost
        self._advice = NOTHING  # for the present state
        self._taken = NOTHING  # since the bot was last asked
        self._plan: list[int] = []  # the search's, from the present state

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
    """A short plan for the next action of the instruction; none where the search finds none.

    At first nothing but what the action is about and keys to locked doors is moved, and only if that will not do,
    anything.
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
    """The numbers of the things a description means."""
    return tuple(k for k, thing in enumerate(things) if any(thing is meant for meant in description.obj_set))


def _cells(model: Model, description: Any) -> list[int]:
    """Where the things a description means are now."""
    meant = {id(thing) for thing in description.obj_set}
    return [cell for cell, thing in enumerate(model.world.grid.grid) if id(thing) in meant]


def new_bot(world: Any) -> Any:
    """A bot for what is left of the instruction, in whatever state the world is."""
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
    """The actions of an instruction not yet done, in the order they are due."""
    if isinstance(instruction, ActionInstr):
        return [instruction]
    first, second = (instruction.instr_a, instruction.a_done), (instruction.instr_b, instruction.b_done)
    if isinstance(instruction, AfterInstr):
        first, second = second, first
    return [action for part, done in (first, second) if done != "success" for action in pending(part)]


def _free_hands(bot: Any, instruction: Any) -> None:
    """The bot picks things up only with empty hands: first put down what is carried, unless it is what is to be put."""
    carried = bot.mission.carrying
    if isinstance(instruction, PutNextInstr) and any(carried is thing for thing in instruction.desc_move.obj_set):
        del bot.stack[-2:]  # no need to go to it and pick it up
    elif isinstance(instruction, PickupInstr | PutNextInstr):
        place = bot._find_drop_pos()
        if place is not None:
            bot.stack += [DropSubgoal(bot), GoNextToSubgoal(bot, place)]
