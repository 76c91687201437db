"""The programs that the sandbox and the tests run: found, downloaded or built from source."""
