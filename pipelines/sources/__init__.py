"""Where pairs come from: one small interface, one file for each layout of a pool."""
