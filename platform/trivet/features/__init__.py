"""Features from Feast, for training and online: the only package that imports feast."""
