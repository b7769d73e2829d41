"""Models of the score, the gradient of the log density: score matching, NCSN, score SDEs and their likelihood."""
