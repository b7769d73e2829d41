"""Who draws and moves: our own engine, or habitat-sim where it is installed."""
