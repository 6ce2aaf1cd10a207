"""The part of OctoFLEX twin that knows mitmproxy: an addon that hands copies over, and a lean relay."""
