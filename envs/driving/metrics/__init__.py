"""nuPlan's closed-loop and open-loop scores."""
