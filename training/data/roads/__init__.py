"""A small software renderer of roads whose every label comes from the geometry it draws."""
