"""Roads: nuPlan's closed loop and scores on generated scenarios, and on nuPlan logs where they lie on disk."""
