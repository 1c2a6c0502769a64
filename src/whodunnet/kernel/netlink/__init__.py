"""One module per netlink message family."""
