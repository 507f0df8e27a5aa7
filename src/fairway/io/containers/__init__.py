"""Containers on this machine: root file systems, runc, logs."""
