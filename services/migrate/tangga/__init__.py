"""What Alembic lacks, as a library and a command line: migrations that cannot hurt, and proof of it."""
