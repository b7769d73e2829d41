"""minigrid's BabyAI bot as an expert that can be asked in any state."""

from typing import Any

from minigrid.envs.babyai.core.verifier import ActionInstr, AfterInstr, PickupInstr, PutNextInstr
from minigrid.utils.baby_ai_bot import BabyAIBot, DisappearedBoxError, DropSubgoal, GoNextToSubgoal

NOTHING = -1
DONE = 6

CONFUSED = (AssertionError, AttributeError, DisappearedBoxError, IndexError, RecursionError, TypeError, ValueError)
"""What the bot raises in states it was not written for."""


class Bot(BabyAIBot):  # type: ignore[misc]
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
    """Keeps one bot informed of what the agent does; a bot that loses the thread is replaced by a new one.

    The bot follows Chevalier-Boisvert et al. (ICLR 2019), section 3.4: it knows the instruction's structure and sees
    what the agent sees, so it explores; its solutions are good, not always shortest.
    """

    def __init__(self, world: Any):
        self.world = world
        self.forget()

    def forget(self) -> None:
        self._bot: Any = None
        self._advice = NOTHING  # for the present state
        self._taken = NOTHING  # since the bot was last asked

    def action(self) -> int:
        if self._advice == NOTHING:
            self._advice = self._ask()
        return self._advice

    def _ask(self) -> int:
        if self._bot is not None and self._taken != NOTHING:
            advice = self._replan(self._taken)
            if advice != DONE:
                return advice
        self._bot = new_bot(self.world)
        return self._replan(None)

    def _replan(self, taken: int | None) -> int:
        try:
            return int(self._bot.replan(taken))
        except CONFUSED:
            return DONE

    def before_step(self, action: int) -> None:
        self._bot = self._bot if self._advice != NOTHING else None
        self._taken, self._advice = action, NOTHING

    def memory(self) -> list[int]:
        return [self._advice, self._taken]

    def bot(self) -> Any:
        return self._bot

    def restore(self, memory: list[int], bot: Any) -> None:
        self._advice, self._taken = memory
        self._bot = bot

    def solution_length(self, at_most: int) -> int:
        for steps in range(1, at_most):
            action = self.action()
            self.before_step(action)
            _, reward, terminated, truncated, _ = self.world.step(action)
            if terminated or truncated:
                return steps if reward > 0 else at_most
        return at_most


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
