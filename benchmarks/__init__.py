"""aiostoolap beside its peers, on the same works in the same run: `./dev benchmark`."""
