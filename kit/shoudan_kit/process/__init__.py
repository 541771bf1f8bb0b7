"""Operating system processes: children, ports, health, signals and the end of a process."""
