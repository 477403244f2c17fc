"""The data card of a curated pool: what it holds, what a draw makes of it, and what is lost on the way."""
