"""What the suite knows: pure, vectorised functions over columns. No Flink, no network, no clock, no environment."""
