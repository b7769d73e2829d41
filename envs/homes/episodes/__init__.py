"""Episodes: Habitat's data sets, and new ones made by its rules."""
