"""What runs on every machine: the node, its fork servers and their children."""
