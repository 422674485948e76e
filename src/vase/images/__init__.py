"""From whatever holds images to pixels: one reading of a shape, one of a file, one of a number."""
