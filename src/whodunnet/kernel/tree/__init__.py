"""Files copied from another machine, as support bundles hold them. Nothing here reads the machine we run on."""
