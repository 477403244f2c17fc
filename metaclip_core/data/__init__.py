"""Tables that the package carries with it."""
