"""The first steps folded into one baseline, proven equal."""
