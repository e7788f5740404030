"""What to adjust for a person: slots, rules, experiments, lists, arms and guards."""
