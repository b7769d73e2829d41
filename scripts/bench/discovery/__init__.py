"""Object discovery: methods on sets of images, scored against instance masks."""
