"""A local branch put onto the other head."""
