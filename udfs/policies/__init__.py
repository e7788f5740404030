"""How a slot weighs its arms against each other: each policy gives every arm an exact chance, and draws nothing."""
