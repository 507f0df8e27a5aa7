"""Cluster DNS as state → records → answers: pure.

Sockets and clocks stand in `fairway.io.dns`, loops in `fairway.agents`.
"""
