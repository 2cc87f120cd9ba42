"""What protects a step: the lock, time-outs, retries, who is in the way, what follows its commit."""
