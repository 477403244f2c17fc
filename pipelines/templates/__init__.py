"""Pages that `report` fills in."""
