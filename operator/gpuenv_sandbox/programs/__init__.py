"""Finds, downloads or builds the programs that the sandbox and the tests run, such as etcd and kubectl."""
