"""Plant faults in fastinit, one at a time, and see whether the tests catch them: `ci/mutation`."""
