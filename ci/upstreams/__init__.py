"""What ci/upstream puts around the tests of other projects."""
