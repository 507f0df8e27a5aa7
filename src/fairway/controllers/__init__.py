"""The controllers' pure cores: what is there, the time and randomness in; the writes that are wanted out."""
