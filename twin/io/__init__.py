"""Everything that touches the world: files, clocks, sockets, processes."""
