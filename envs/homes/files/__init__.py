"""Homes on disk: read from .glb, .obj and .ply, written for habitat-sim."""
