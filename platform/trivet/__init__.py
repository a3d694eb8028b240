"""MLflow decides which version answers, Feast brings its features, BentoML serves it."""
