"""Object discovery without labels: slot attention, complex autoencoder and graph cuts of patches."""
