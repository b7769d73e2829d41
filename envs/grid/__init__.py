"""Grids: the official MiniGrid and BabyAI tasks through the environment contract.

    env = gym.make("embodia:embodia/MiniGrid-DoorKey-8x8-v0", observation="symbolic_full", split="train")

`env.GridEnv` is the spec sheet; `ids` names every task; `expert` plays them; `snapshot` saves them.
"""
