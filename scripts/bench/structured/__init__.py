"""The bench of structured outputs. A part is a module with `rows(options)`; `structured.PARTS` lists them."""
