"""Files that hold weights: raw and .npy, published whole."""
