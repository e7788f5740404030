"""Which groups of people a person is in, by rules and by likeness."""
