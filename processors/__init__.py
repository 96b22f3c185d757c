"""Pipecat frame processors at the two ends of the pipeline, and the process-wide VAD engine."""
