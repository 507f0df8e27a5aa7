"""Service networking for Kubernetes that can explain every packet."""

__version__ = "0.1.0"
