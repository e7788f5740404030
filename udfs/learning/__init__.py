"""What comes of decisions, and what is learned from it: rewards, sums of plays, off-policy estimates, drift."""
