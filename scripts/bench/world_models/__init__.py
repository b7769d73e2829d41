"""World models at work: the Wall, and the whole chain in homes."""
