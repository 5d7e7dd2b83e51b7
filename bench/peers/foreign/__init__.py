"""What runs in the peers' own environment: nothing here may import more than the standard library and the peers."""
