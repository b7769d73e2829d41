"""The surface a body can walk on, built as Recast does, and the questions asked of it."""
