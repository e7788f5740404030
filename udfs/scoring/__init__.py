"""What a model is, and what it says an item is worth to a person."""
