"""One folder a dataplane: planned service port to keyed kernel items, their kernel form, and a tracer."""
