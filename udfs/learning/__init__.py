"""What comes of decisions: rewards, sums of plays, and of which choices one was unsure."""
