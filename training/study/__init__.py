"""Studies of multi-task training: nothing outside this package imports it."""
