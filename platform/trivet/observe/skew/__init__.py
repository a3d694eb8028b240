"""What was served beside what the offline store says of the same moments, and why they differ."""
