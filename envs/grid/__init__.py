"""Grids: the official MiniGrid and BabyAI levels through the environment contract."""
