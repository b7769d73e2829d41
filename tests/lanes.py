"""Data of the lanes that tests read; here, because worker processes import it."""

from functools import partial

import numpy as np
from gymnasium import spaces

from embodia.agents import Pieces
from embodia.agents.training.random_batches import RandomBatches
from embodia.agents.training.recorded import RecordedBatches
from embodia.scripts.data.frames import Episodes, Pool
from embodia.scripts.data.lanes import Part, lane_seed
from embodia.scripts.data.recordings import Matched, Rows
from embodia.scripts.mistake import Mistake

SIZE = 48
SPACE = spaces.Dict({"image": spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)})
ACTIONS = spaces.Discrete(4)


def clips(folder, lanes, number):
    """A lane with room for 64 of 2,400 frames."""
    return Pool(Part(Episodes(folder), number, lanes), 64 // lanes, lane_seed(3, number))


def rows(folder, lanes, number):
    """A lane with room for 240 of 2,400 rows."""
    recording = Matched(Rows(folder), SPACE, ACTIONS)
    return RecordedBatches([Part(recording, number, lanes)], Pieces(8), 240 // lanes, lane_seed(3, number))


def flaw(number, generator, n):
    if number == 1:
        raise Mistake("episode-000003.npz cannot be read")
    return {"x": generator.random(n)}


def toy(number):
    return RandomBatches(partial(flaw, number), number)
