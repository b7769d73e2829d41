"""Object discovery without labels: slots, phases, cuts of patch graphs."""
