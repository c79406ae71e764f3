"""The evaluation worker: the process that imports torch and uses the device. No other package imports this one."""
