"""What the services say to one another. Pure: imports msgspec and the standard library only."""
