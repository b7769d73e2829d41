"""Egocentric video as clips: folders of films and the Ego-Exo4D layout, decoded as they are asked for."""
