"""Networks of a noisy sample, a time and a condition: MLP, temporal U-Net, U-Net for pictures, transformer (DiT)."""
