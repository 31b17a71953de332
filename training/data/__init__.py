"""Where frames and labels come from."""
