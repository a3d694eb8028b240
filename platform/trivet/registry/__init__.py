"""Versions and releases in MLflow: the only place that imports mlflow.

mlflow costs seconds and 170 MB to import, and reads its telemetry switch while it does. So it is
imported inside the functions that need it, after `connect` has set the switch; importing these
modules costs next to nothing.
"""
