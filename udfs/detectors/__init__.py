"""What tells that a series, or a person, is not as usual: detectors of anomalies and of drift."""
