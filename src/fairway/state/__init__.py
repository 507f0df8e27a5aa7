"""Immutable rows with indexes, owned by one Writer that says which Services a watch event changed."""
