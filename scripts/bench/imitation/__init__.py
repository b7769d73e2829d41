"""Learning from experts: their rewards, and policies that follow them."""
