"""nuPlan's closed loop, and the batched simulator of many scenarios."""
