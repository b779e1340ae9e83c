"""What ci/record runs: models of the libraries, recorded and held against what their code draws."""
