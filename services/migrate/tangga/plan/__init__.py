"""What migrate would do, tried out on a copy of the schema."""
