"""The compute plane: batches of a table through a step, here or on Dask."""
