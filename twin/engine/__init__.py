"""The machines: the analyzer beside a link, the player and the CSMS at its ends, and what joins them."""
