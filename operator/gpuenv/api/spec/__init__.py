"""The specification of a GPUEnvironment: its typed form, its parser, and the digests of its parts."""
