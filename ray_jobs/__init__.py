"""Entry points: the `metaclip` command line and one module per job for `ray job submit`."""
