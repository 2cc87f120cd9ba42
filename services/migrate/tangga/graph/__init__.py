"""The steps and the tables, drawn."""
