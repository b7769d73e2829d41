"""Grids: the official MiniGrid and BabyAI tasks as environments of the contract.

    env = gym.make("embodia:embodia/MiniGrid-DoorKey-8x8-v0", observation="symbolic_full", split="train")

`env.GridEnv` documents the environment, `ids` lists every task, `expert` solves them, `snapshot` saves their state.
"""
