"""The bundle and the wheel, carried to file systems that are not the build machine's."""
