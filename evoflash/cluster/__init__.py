"""One search over the devices of several hosts, by Dask: who holds them, and how the driver reaches them."""
