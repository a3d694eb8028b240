"""Scoring jobs: entity rows in, predictions out as Parquet, each exactly once."""
