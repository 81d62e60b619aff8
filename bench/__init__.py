"""Side-by-side benchmarks of this service and others, with one store, on one machine."""
