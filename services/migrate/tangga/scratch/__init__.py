"""A throwaway server, made like the live one; generated rows; snapshots."""
