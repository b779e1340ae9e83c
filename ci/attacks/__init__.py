"""Attacks on fastinit: what hostile files, failing disks, signals and forks at any moment can do, tried on purpose."""
