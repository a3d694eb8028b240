"""Bentos of one version: built from a registered version, served without the project and MLflow."""
