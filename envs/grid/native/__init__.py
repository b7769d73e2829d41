"""The native engine: N grids stepped in one compiled call, under minigrid's own rules.

    envs = embodia.envs.vector.make("embodia:embodia/MiniGrid-DoorKey-8x8-v0", 1024, levels=10_000)

Levels come from minigrid's generators. `levels` compiles a level to `arrays` of `cells`, `rules` and `instructions`
step it, `observations` and `views` show it. `pool` makes levels ahead and keeps them, `draws` chooses the next one.
`mirror` gives a world back as minigrid's objects, and `batch` is the vector environment. Every number equals the
official environment's, bit for bit.
"""
