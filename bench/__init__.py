"""Side-by-side benchmarks: ours and its peers, over one store, on one machine."""
