"""Explorer: a run as one page to look around in, searched by any mix of its similarities."""
