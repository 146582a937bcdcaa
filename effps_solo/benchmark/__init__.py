"""What inference costs: time, memory and arithmetic, by backend, stage and module."""
