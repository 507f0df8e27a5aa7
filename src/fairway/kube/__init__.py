"""Kubernetes API objects as small frozen structs: decoded, defaulted and validated in one place."""
