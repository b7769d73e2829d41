"""Egocentric video as clips, from folders of videos or Ego-Exo4D, decoded on demand."""
