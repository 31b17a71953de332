"""Does sharing a trunk help? Planned runs, their store, what tasks do to each other, the report."""
