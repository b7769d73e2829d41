"""The renderer: scenes of triangles drawn in one call, on the CPU and on a GPU."""
