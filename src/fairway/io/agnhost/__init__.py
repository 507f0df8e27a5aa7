"""Fairway's own agnhost: the program of the official suite's pods, for machines that do not have the real one.

It runs inside pods by the machine's Python, so it imports nothing but the standard library, and little of that: a pod
should be up in tens of milliseconds. Subcommands, flags, paths and words are those of the real one
(k8s.io/kubernetes/test/images/agnhost).
"""
