"""Ready-made parts for a modality whose examples are float arrays of one shape; `examples/signals` is built of them."""
