"""The owner's own package."""
