"""The command line: presets and one thin module per verb; the only place where parts are chosen."""
