"""Tests in a browser. A package, so that its fixtures live as long as it does."""
