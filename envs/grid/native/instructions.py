"""BabyAI's instructions as integers, and the kernel that verifies them.

An instruction has one or two parts, in the order in which they must be done (before, after), and each part has one
clause or two (and). A clause is a verb with the objects that its descriptions match. Source of the rules: minigrid's
`envs.babyai.core.verifier` (Chevalier-Boisvert et al., "BabyAI", ICLR 2019).
"""

from collections.abc import Iterator
from typing import Any

from minigrid.envs.babyai.core import verifier

from embodia.envs.compiled import compiled_exactly, inlined
from embodia.envs.grid.native.arrays import Array, Levels
from embodia.envs.grid.native.cells import DOOR, TYPE
from embodia.envs.grid.search import DROP, PICKUP, TOGGLE

NO_CLAUSE, GO_TO, OPEN, PICK_UP, PUT_NEXT = range(5)
CONTINUE, SUCCESS, FAILURE = range(3)
VERBS: dict[Any, int] = {
    verifier.GoToInstr: GO_TO,
    verifier.OpenInstr: OPEN,
    verifier.PickupInstr: PICK_UP,
    verifier.PutNextInstr: PUT_NEXT,
}
CLAUSES = 4
"""Clause 2 p + c is clause c of part p; its descriptions are 4 p + 2 c and the next one."""
VERB, STRICT, DONE, BEFORE = range(4)
"""Columns of a clause: verb, whether mistakes fail, whether done, and what was carried when last verified."""
STRICT_ORDER, FIRST_DONE = range(2)
"""Columns of `order`: whether the second part must not be done first, and whether the first is done."""


def parts(instruction: Any) -> tuple[Any, ...]:
    """Return the one or two parts of an instruction in the order in which they must be done."""
    if isinstance(instruction, verifier.AfterInstr):
        return instruction.instr_b, instruction.instr_a
    if isinstance(instruction, verifier.BeforeInstr):
        return instruction.instr_a, instruction.instr_b
    return (instruction,)


def clauses(instruction: Any) -> Iterator[tuple[int, Any, Any]]:
    """Iterate over the clauses: number, the clause, and the `and` that it belongs to, or None."""
    for p, part in enumerate(parts(instruction)):
        if isinstance(part, verifier.AndInstr):
            yield 2 * p, part.instr_a, part
            yield 2 * p + 1, part.instr_b, part
        else:
            yield 2 * p, part, None


def descriptions(clause: Any) -> list[Any]:
    """Return the one or two descriptions of a clause: what to act on, and for PutNext what to put it next to."""
    return [clause.desc_move, clause.desc_fixed] if isinstance(clause, verifier.PutNextInstr) else [clause.desc]


def first_done(instruction: Any) -> Any:
    """Return the official status of the part of a sequence that must be done first."""
    return instruction.b_done if isinstance(instruction, verifier.AfterInstr) else instruction.a_done


def restore(instruction: Any, first: bool, done: list[bool], before: list[Any]) -> None:
    """Set the progress of an official instruction: its first part, its clauses, and what was carried before."""
    name = "b_done" if isinstance(instruction, verifier.AfterInstr) else "a_done"
    if len(parts(instruction)) == 2:
        setattr(instruction, name, "success" if first else "continue")
    for k, clause, both in clauses(instruction):
        if both is not None:
            setattr(both, "b_done" if k % 2 else "a_done", "success" if done[k] else "continue")
        if isinstance(clause, verifier.PickupInstr | verifier.PutNextInstr):
            clause.preCarrying = before[k]


@compiled_exactly
def beside(row: int, a: int, b: int) -> bool:
    """Return whether two cells are neighbours, diagonals excluded."""
    distance = abs(a - b)
    return distance == 1 or distance == row


@compiled_exactly
def look_again(worlds: Levels, i: int, row: int) -> None:
    """Find the cells of all described objects, in minigrid's order: column by column."""
    described, seen = worlds.described[i], worlds.seen[i]
    for d in range(described.shape[0]):
        count = 0
        for k in described[d]:
            if k < 0:
                break
            cell = worlds.places[i, k]
            if cell >= 0 and worlds.things[i, cell] == k:
                at = count
                while at > 0 and later(row, seen[d, at - 1], cell):
                    seen[d, at] = seen[d, at - 1]
                    at -= 1
                seen[d, at] = cell
                count += 1
        seen[d, count:] = -1


@compiled_exactly
def later(row: int, a: int, b: int) -> bool:
    """Return whether cell a comes after cell b, column by column."""
    return a % row > b % row or (a % row == b % row and a > b)


@compiled_exactly
def describes(described: Array, d: int, k: int) -> bool:
    """Return whether thing k is one of those that description d matches."""
    for other in described[d]:
        if other == k:
            return k >= 0
    return False


@compiled_exactly
def clause_status(worlds: Levels, i: int, row: int, front: int, action: int, c: int) -> int:
    clause, described, seen = worlds.clauses[i, c], worlds.described[i], worlds.seen[i]
    verb, strict, carried, before = clause[VERB], clause[STRICT], worlds.carried[i], clause[BEFORE]
    clause[BEFORE] = carried
    if verb == GO_TO:
        for cell in seen[2 * c]:
            if cell == front:
                return SUCCESS
    elif verb == OPEN and action == TOGGLE:
        door = worlds.things[i, front]
        opened = worlds.codes[i, front] >> 7 & 3 == 0
        if opened and describes(described, 2 * c, door):
            return SUCCESS
        if strict and worlds.codes[i, front] & TYPE == DOOR:
            return FAILURE
    elif verb == PICK_UP and action == PICKUP:
        if before < 0 and describes(described, 2 * c, carried):
            return SUCCESS
        if strict and carried >= 0:
            return FAILURE
    elif verb == PUT_NEXT:
        if strict and action == PICKUP and carried >= 0:
            return FAILURE
        if action == DROP and describes(described, 2 * c, before):
            for cell in seen[2 * c + 1]:
                if cell >= 0 and beside(row, cell, worlds.places[i, before]):
                    return SUCCESS
    return CONTINUE


@compiled_exactly
def part_status(worlds: Levels, i: int, row: int, front: int, action: int, part: int) -> int:
    pair = worlds.clauses[i, 2 * part : 2 * part + 2]
    if pair[1, VERB] == NO_CLAUSE:
        return clause_status(worlds, i, row, front, action, 2 * part)
    for c in range(2):
        if not pair[c, DONE]:
            pair[c, DONE] = clause_status(worlds, i, row, front, action, 2 * part + c) == SUCCESS
    return SUCCESS if pair[0, DONE] and pair[1, DONE] else CONTINUE


@inlined
def verify(worlds: Levels, i: int, row: int, front: int, action: int) -> int:
    """Return the status of world i's instruction after an action: CONTINUE, SUCCESS or FAILURE."""
    order = worlds.order[i]
    if worlds.clauses[i, 2, VERB] == NO_CLAUSE:
        return part_status(worlds, i, row, front, action, 0)
    if not order[FIRST_DONE]:
        status = part_status(worlds, i, row, front, action, 0)
        if status == FAILURE:
            return FAILURE
        if status == CONTINUE:
            early = order[STRICT_ORDER] and part_status(worlds, i, row, front, action, 1) == SUCCESS
            return FAILURE if early else CONTINUE
        order[FIRST_DONE] = 1
    return part_status(worlds, i, row, front, action, 1)
