"""The science composed on Ray: stages, sources, training, tracking, storage layout, configuration."""
