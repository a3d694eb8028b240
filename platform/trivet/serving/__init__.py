"""The service: BentoML's app with Trivet's routes in front; the only package that imports bentoml."""
