"""Maps from noise to data that are no diffusion: flow matching, a normalizing flow, an adversarial generator."""
