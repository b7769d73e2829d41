"""What `pretrain`, `sample` and `segment` do for one kind of model: generative models, detectors, segmenters."""
