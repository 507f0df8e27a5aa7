"""Words of the field as values: addresses, prefixes, protocols, names, packets, error bases.

Knows nothing of Kubernetes objects or kernels.
"""
