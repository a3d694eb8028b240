"""Replicas of a service behind HAProxy: started, watched, drained and scaled as one."""
