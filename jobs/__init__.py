"""What you submit or run."""
