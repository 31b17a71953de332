"""A software renderer of roads; all labels are derived from the geometry it draws."""
