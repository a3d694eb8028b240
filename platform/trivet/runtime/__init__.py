"""What executes a version: its code steps, its predictor, and the proof that a faster one is equal."""
