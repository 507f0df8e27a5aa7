"""One packet through the plan, the items and the kernel, compared."""
