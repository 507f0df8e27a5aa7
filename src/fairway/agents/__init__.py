"""The loops: list and watch, write state, plan, items, apply. Effects are handed in as small Protocols."""
