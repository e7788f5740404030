"""What is known of a person at a moment, as named numbers."""
