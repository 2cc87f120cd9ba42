"""migration_log: written, and read as history."""
