"""The Common Expression Language as Kubernetes runs it: text → checked tree → closures over one value.

Knows nothing of objects, schemas or HTTP; `rules` beside this folder does. Words of errors are cel-go's.
"""
