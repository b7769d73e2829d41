"""Commands of segmenters: the parts of `embodia pretrain` and `embodia segment` that concern them."""
