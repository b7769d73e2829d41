"""Small control tasks defined in papers: the Wall environment of DINO-WM."""
