"""Steps down that keep what they would lose, and give it back."""
