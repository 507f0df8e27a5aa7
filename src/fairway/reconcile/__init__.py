"""Wanted against known, for anything keyed: difference, ids, retry schedule, prune. `now` is passed in."""
