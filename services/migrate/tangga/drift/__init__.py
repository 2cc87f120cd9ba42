"""Compare the live database with its steps, and the models with the schema."""
