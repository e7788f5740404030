"""Why it was decided so, in words and pictures a person can follow."""
