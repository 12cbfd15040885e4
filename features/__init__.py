"""What events mean: pure ``DataFrame -> DataFrame`` transforms. No I/O, no MLflow, no Delta calls."""
