"""How a raw record becomes a trustworthy event, or a refusal with its reason."""
