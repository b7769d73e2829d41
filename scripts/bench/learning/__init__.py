"""What presets learn, on several seeds."""
