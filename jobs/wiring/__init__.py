"""How jobs meet the world: settings, tables, functions with side effects, releases."""
