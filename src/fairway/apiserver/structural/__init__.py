"""Custom resources by their structural schemas: what is kept of an object, its defaults, and whether it is valid.

`types` field ownership, `pruning` what is kept, `defaulting`, `validation` the OpenAPI part, `listtypes` sets and maps,
`embedded` resources in resources, `rules` the CEL part, `correlation` which old value a new one stands for (errors
about what did not change are let pass on updates), `definition` whether a schema is one at all, `jsonpath` columns.
"""
