"""What executes a version: its code steps, its predictor, and the proof that a faster one is equal."""

from trivet.settings import silence_telemetry

# ONNX Runtime reports from its import on, in whatever process that is: a script that trains, too.
silence_telemetry()
