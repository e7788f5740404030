"""The embedded stack and the pretend website: everything `make run` needs on one machine."""
