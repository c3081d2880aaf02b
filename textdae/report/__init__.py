"""Reports of a run: pictures, tables and model cards."""
