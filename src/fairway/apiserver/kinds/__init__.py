"""What is special about each kind: defaults, validity, what a write does besides; one table of all of them."""
