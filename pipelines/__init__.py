"""What happens, in what order: plain functions over ports, and the flows that wrap them."""
