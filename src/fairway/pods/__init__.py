"""Pods as a node runs them, pure: life cycle, status, bundles, environment and files; `now` is an argument."""
