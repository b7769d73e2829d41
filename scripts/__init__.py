"""The command line: one module per command, presets, and the assembly of configurations into objects."""
