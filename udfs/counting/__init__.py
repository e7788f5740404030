"""How millions of values become a few numbers."""
