"""What PostgreSQL says of a schema: one model of it, one quoter, one answer to which tables are ours."""
