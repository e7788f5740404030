"""How ranking models are taught: what lists teach, how much each row counts, how good a model is, what it must show."""
