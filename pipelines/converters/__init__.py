"""Published layouts of benchmarks → the one format of `evaluation_sets`. Nothing is downloaded."""
